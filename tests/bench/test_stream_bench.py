"""The whole measurement, short: a real server, channel, ffmpeg and nginx-rtmp, and a viewer."""

import dataclasses
import json
from pathlib import Path
from typing import ClassVar

import pytest

from bench.rtmp_server import NGINX_MODULE
from bench.stream import record, scenario
from bench.stream.load import LoadMeter
from bench.stream.plan import Plan
from bench.stream.record import StreamBench, bench_stream
from orchestrator.settings import CHECKOUT
from speech.audio.decoder import ffmpeg_binary
from tests.support.starved import Starved

DEMO = CHECKOUT / "checkpoints" / "demo"
ORDERS = [[1, 3], [2, 4]]

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not NGINX_MODULE.exists(), reason="no nginx with libnginx-mod-rtmp on this machine"),
]


class WatchingMeter(LoadMeter):
    """Notes what the measured server has mapped or open of what its viewers received, and how long it had no core.

    That is the most of any five seconds.
    """

    of_viewers: ClassVar[set[str]] = set()
    starved_s: ClassVar[float] = 0.0

    def __init__(self, server_pid: int) -> None:
        super().__init__(server_pid)
        self._watched = server_pid
        self._starved = Starved(server_pid)

    def sample(self) -> None:
        super().sample()
        WatchingMeter.starved_s = max(self.starved_s, self._starved.seconds)
        self._starved = Starved(self._watched)
        server = Path(f"/proc/{dict(self.processes())['orchestrator']}")
        files = [str(file.readlink()) for file in (server / "fd").iterdir() if file.is_symlink()]
        mapped = [line.split()[-1] for line in (server / "maps").read_text().splitlines()]
        self.of_viewers.update(file for file in files + mapped if "/received-" in file)


def found_in(bench: StreamBench) -> str:
    """All that a failure needs to be understood by; nothing else is left of the run."""
    lines = [f"without a core for up to {WatchingMeter.starved_s:.2f} s of five; faults: {bench.faults}"]
    for channel, counters in zip(bench.channels, bench.counters, strict=True):
        found = dataclasses.asdict(channel)
        outages = found.pop("outages")
        lines += [f"{found}", f"    {len(outages)} outages: {outages[:10]}", f"    counted by the channel: {counters}"]
    return "\n".join(lines)


async def test_two_channels_play_every_speech_whole_and_in_order_through_a_restart_of_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As in a run of hours: parts are cut at keyframes, read and deleted while the run goes on.
    monkeypatch.setattr(record, "_LONG_RUN_S", 10.0)
    monkeypatch.setattr(record, "_ROLL_S", 15.0)
    monkeypatch.setattr(scenario, "LoadMeter", WatchingMeter)
    plan = Plan(
        duration_s=50, size=(320, 480), channels=2, speeches=4, interrupts=1, late_chunks=1, server_restarts=1,
        encoder_kills=1, video_bitrate_kbps=1200, x264_preset="ultrafast",
    )  # fmt: skip
    bench = await bench_stream(plan, DEMO / "avatar" / "idle.mp4", DEMO, ffmpeg_binary())
    assert WatchingMeter.of_viewers == set(), "the server's memory and files count what reads its stream"
    assert bench.tasks == {"accepted": 4, "cancelled": 1, "done": 3}, found_in(bench)
    # What depends on the machine's speed is measured and not tested.
    timed = ["idle_after_interrupt_ms", "cores_per_channel"]
    if WatchingMeter.starved_s > 0.5:
        timed += [criterion.name for criterion in bench.criteria if criterion.name.startswith("on_air_after_")]
        seen = sum(len(channel.waits_unexplained) + channel.late_waits_seen for channel in bench.channels)
        if seen <= sum(counters["late_waits"] for counters in bench.counters):
            timed.append("waits_unexplained")  # the channels say themselves that faces came late
    broken = [criterion for criterion in bench.criteria if not criterion.kept and criterion.name not in timed]
    orders = [channel.speeches_in_order for channel in bench.channels]
    relieved = any(counters["dropped_pairs"] or counters["encoder_steps_down"] for counters in bench.counters)
    if WatchingMeter.starved_s > 0.5 and relieved and (broken or orders != ORDERS):
        pytest.skip(f"the machine is too busy for two encoders: {WatchingMeter.starved_s:.1f} s of five without a core")
    assert broken == [], found_in(bench)
    assert orders == ORDERS, found_in(bench)
    assert {fault["kind"] for fault in bench.faults} == {"server_killed", "encoder_killed"}
    written = json.loads(bench.to_json())
    assert written["plan"] == json.loads(json.dumps(dataclasses.asdict(plan)))
    assert "No network is run" in written["generator"]
