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
from bench.stream.record import bench_stream
from orchestrator.settings import CHECKOUT
from speech.audio.decoder import ffmpeg_binary

DEMO = CHECKOUT / "checkpoints" / "demo"

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not NGINX_MODULE.exists(), reason="no nginx with libnginx-mod-rtmp on this machine"),
]


class WatchingMeter(LoadMeter):
    """Notes what the measured server has mapped or open of what its viewers received."""

    of_viewers: ClassVar[set[str]] = set()

    def sample(self) -> None:
        super().sample()
        server = Path(f"/proc/{dict(self.processes())['orchestrator']}")
        files = [str(file.readlink()) for file in (server / "fd").iterdir() if file.is_symlink()]
        mapped = [line.split()[-1] for line in (server / "maps").read_text().splitlines()]
        self.of_viewers.update(file for file in files + mapped if "/received-" in file)


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
    broken = [criterion for criterion in bench.criteria if not criterion.kept]
    # What depends on the machine's speed is measured and not tested.
    timed = ("idle_after_interrupt_ms", "on_air_after_outage_s", "cores_per_channel")
    assert [criterion for criterion in broken if criterion.name not in timed] == []
    assert bench.tasks == {"accepted": 4, "cancelled": 1, "done": 3}
    assert [channel.speeches_in_order for channel in bench.channels] == [[1, 3], [2, 4]]
    assert {fault["kind"] for fault in bench.faults} == {"server_killed", "encoder_killed"}
    written = json.loads(bench.to_json())
    assert written["plan"] == json.loads(json.dumps(dataclasses.asdict(plan)))
    assert "No network is run" in written["generator"]
