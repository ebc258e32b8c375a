"""The whole measurement: one viewer, sound against lips, ten viewers, losses, and viewers that come and go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.machine import Machine, this_machine
from bench.stream.criteria import Criterion
from bench.webrtc.browser import Watch, WatchingPage, chromium, watching
from bench.webrtc.come_and_go import Left, come_and_go
from bench.webrtc.relay import Relay
from bench.webrtc.serving import PatternServer, pattern_server
from streaming.config import FPS

if TYPE_CHECKING:
    from playwright.async_api import Browser

_SETTLE_S = 5.0
_JOINS = 5
_TICKS_S = os.sysconf("SC_CLK_TCK")
_LATE = ("late_waits", "late_frames", "dropped_pairs", "stalls")


@dataclass(frozen=True)
class WebRtcPlan:
    """Seconds of each part, how many viewers watch at once, how many come and go, and the share that is lost."""

    seconds: float = 30.0
    sound_s: float = 600.0
    viewers: int = 10
    visits: int = 200
    loss: float = 0.05
    blackouts: int = 5


@dataclass
class WebRtcBench:
    """Milliseconds are from the time at which a frame was due on the channel's clock to its display.

    `sound_ms` is beep after flash, `viewer_cpu` the share of a core of the process for WebRTC, `many_seen` the share of
    the frames that one of many viewers was shown, `frozen_ms` the longest time without a new picture, `blackout_ms` the
    time that the picture stood for each second without packets.
    """

    date: str
    machine: Machine
    plan: WebRtcPlan
    size: tuple[int, int]
    load_average: tuple[float, float, float] = (0.0, 0.0, 0.0)
    webrtc_ms: dict[str, float] = field(default_factory=dict)
    mp4_ms: dict[str, float] = field(default_factory=dict)
    first_picture_ms: list[float] = field(default_factory=list)
    sound_ms: dict[str, float] = field(default_factory=dict)
    viewer_cpu: dict[str, float] = field(default_factory=dict)
    many_ms: dict[str, float] = field(default_factory=dict)
    many_seen: float = 0.0
    late: dict[str, float] = field(default_factory=dict)
    loss_ms: dict[str, float] = field(default_factory=dict)
    frozen_ms: float = 0.0
    lost_packets: float = 0.0
    blackout_ms: list[float] = field(default_factory=list)
    left: Left | None = None
    criteria: list[Criterion] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return all(criterion.kept for criterion in self.criteria)

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=2)


async def bench_webrtc(plan: WebRtcPlan, checkpoint_dir: Path, ffmpeg: str) -> WebRtcBench:
    """Runs it; raises NoChromium."""
    with tempfile.TemporaryDirectory(prefix="latentsync-webrtc-") as folder:
        async with pattern_server(Path(folder), checkpoint_dir, ffmpeg) as server, chromium() as browser:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            record = WebRtcBench(now, this_machine(ffmpeg), plan, server.size)
            late = _late(server)
            await _one_viewer(plan, server, browser, record)
            await _mp4(plan, server, browser, record)
            await _sound(plan, server, browser, record)
            await _many(plan, server, browser, record)
            await _losses(plan, server, browser, record)
            record.load_average = os.getloadavg()
            record.left = await come_and_go(server, plan.visits)
            record.late = {name: value - late[name] for name, value in _late(server).items()}
    record.criteria = _criteria(record)
    return record


async def _one_viewer(plan: WebRtcPlan, server: PatternServer, browser: Browser, record: WebRtcBench) -> None:
    for _ in range(_JOINS):
        async with watching(browser, server, "webrtc") as page:
            record.first_picture_ms.append(round(1000 * await page.first_picture_s(), 1))
    async with watching(browser, server, "webrtc") as page:
        await page.first_picture_s()
        await asyncio.sleep(_SETTLE_S)
        async with _cpu(server, record, "one"):
            record.webrtc_ms = _delays(await page.watch(plan.seconds), server)


async def _mp4(plan: WebRtcPlan, server: PatternServer, browser: Browser, record: WebRtcBench) -> None:
    async with watching(browser, server, "mp4") as page:
        await page.watch(_SETTLE_S)
        record.mp4_ms = _delays(await page.watch(plan.seconds), server)


async def _sound(plan: WebRtcPlan, server: PatternServer, browser: Browser, record: WebRtcBench) -> None:
    async with watching(browser, server, "webrtc") as page:
        await page.first_picture_s()
        await page.listen()
        await asyncio.sleep(_SETTLE_S)
        watched = await page.watch(plan.sound_s)
        flashes = [each.at_s for each in watched.seen if each.number % FPS == 0]
        beeps = await page.beeps()
    apart = [1000 * min((beep - flash for beep in beeps), key=abs) for flash in flashes if beeps]
    record.sound_ms = _summary([each for each in apart if abs(each) < 500])


async def _many(plan: WebRtcPlan, server: PatternServer, browser: Browser, record: WebRtcBench) -> None:
    async with watching(browser, server, "webrtc") as page:
        await page.first_picture_s()
        await page.add_viewers(plan.viewers - 1)
        await asyncio.sleep(_SETTLE_S)
        async with _cpu(server, record, "many"):
            watched = await page.watch(plan.seconds)
        record.many_ms = _delays(watched, server)
        record.many_seen = round(len(watched.seen) / FPS / (watched.ended_s - watched.began_s), 3)
        await page.remove_viewers()


async def _losses(plan: WebRtcPlan, server: PatternServer, browser: Browser, record: WebRtcBench) -> None:
    relay = Relay(seed=1)
    try:
        async with watching(browser, server, "webrtc", relay) as page:
            await page.first_picture_s()
            await asyncio.sleep(_SETTLE_S)
            relay.loss, carried, lost = plan.loss, relay.carried, relay.lost
            watched = await page.watch(plan.seconds)
            record.lost_packets = round((relay.lost - lost) / max(1, relay.carried - carried), 4)
            record.loss_ms = _delays(watched, server)
            record.frozen_ms = round(1000 * watched.longest_still_s, 1)
            relay.loss = 0.0
            for _ in range(plan.blackouts):
                record.blackout_ms.append(await _blackout(page, relay))
    finally:
        relay.close()


async def _blackout(page: WatchingPage, relay: Relay) -> float:
    """A second without packets; how long the picture stood, in milliseconds."""
    await asyncio.sleep(_SETTLE_S)
    watch = asyncio.create_task(page.watch(6.0))
    await asyncio.sleep(1.0)
    relay.dark = True
    await asyncio.sleep(1.0)
    relay.dark = False
    return round(1000 * (await watch).longest_still_s, 1)


@contextlib.asynccontextmanager
async def _cpu(server: PatternServer, record: WebRtcBench, name: str) -> Any:
    used, began = _cpu_s(server.pid), time.monotonic()
    yield
    record.viewer_cpu[name] = round((_cpu_s(server.pid) - used) / (time.monotonic() - began), 4)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


def _late(server: PatternServer) -> dict[str, float]:
    status = server.orchestrator.channels["main"].view.status
    return {name: 0.0 if status is None else float(getattr(status, name)) for name in _LATE}


def _delays(watched: Watch, server: PatternServer) -> dict[str, float]:
    due = server.due_s
    return _summary([1000 * (each.at_s - due[each.number]) for each in watched.seen if each.number in due])


def _summary(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"count": 0}
    shares = {f"p{share}": round(float(np.percentile(values, share)), 1) for share in (5, 50, 95)}
    return {"count": len(values), **shares, "longest": round(max(values), 1)}


def _criteria(record: WebRtcBench) -> list[Criterion]:
    def most(name: str, measured: float | None, allowed: float) -> Criterion:
        return Criterion(name, measured, f"≤ {allowed:g}", measured is not None and measured <= allowed)

    left = record.left
    assert left is not None
    sound = max((abs(record.sound_ms[name]) for name in ("p5", "p50", "p95") if name in record.sound_ms), default=None)
    return [
        most("paint_to_glass_median_ms", record.webrtc_ms.get("p50"), 150),
        most("paint_to_glass_p95_ms", record.webrtc_ms.get("p95"), 200),
        most("first_picture_ms", float(np.median(record.first_picture_ms)), 600),
        most("lips_and_sound_apart_ms", sound, 40),
        most("cpu_of_many_viewers", record.viewer_cpu.get("many"), 0.25),
        Criterion("share_of_frames_seen_among_many", record.many_seen, "≥ 0.98", record.many_seen >= 0.98),
        *(most(name, record.late[name], 0) for name in _LATE),
        most("frozen_with_losses_ms", record.frozen_ms, 500),
        # The second itself included.
        most("stood_at_a_second_of_blackout_ms", max(record.blackout_ms), 1500),
        most("peers_left", left.peers, 0),
        most("sockets_left", left.sockets, 0),
        most("memory_growth", left.memory_growth, 1.05),
    ]
