"""So many channels that speak without a pause, and what came too late on them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.gpu.gpu_watch import GpuWatch
from bench.gpu.plan import GpuPlan
from bench.gpu.processes import CpuMeter, triton_processes
from bench.gpu.product_server import ProductServer
from bench.gpu.speech import Speech
from bench.stream.load import LoadMeter
from speech.audio.frames import FPS

# One that plays, and one whose generation begins meanwhile.
_QUEUED = 2
_COUNTERS = ("frames_sent", "late_waits", "late_frames", "dropped_pairs", "stalls")
_STATUS_EVERY_S = 1.0


@dataclass(frozen=True)
class LivePoint:
    """So many channels, each speech followed by the next; counters are of all of them, in the measured time.

    `late_frames` are frames that a begun speech had to wait for. `spoken_frames` were played with a face; without any
    delay between speeches they would be nearly `frames_due`; channels report them once a second, so the share is right
    to a second in `seconds`. `cores` is processor seconds a second by role; the channel of the
    settings runs idle beside, at the avatar's own size.
    """

    channels: int
    seconds: float
    frames_due: int
    frames_sent: int
    spoken_frames: int
    spoken_share: float
    late_frames: int
    late_waits: int
    dropped_pairs: int
    stalls: int
    gpu_utilization: dict[str, float] | None
    cores: dict[str, float]

    @property
    def on_time(self) -> bool:
        """No frame was late, and none was dropped before the encoder."""
        return not (self.late_frames or self.late_waits or self.dropped_pairs)


async def bench_live(
    server: ProductServer,
    triton_pid: int,
    avatar: str,
    speech: Speech,
    plan: GpuPlan,
    gpus: GpuWatch,
    found: Callable[[LivePoint], None],
) -> None:
    """More and more channels of the plan until frames are late; raises ProductFailed."""
    names: list[str] = []
    try:
        for count in plan.channels:
            while len(names) < count:
                names.append(f"live{len(names)}")
                await _create(server, names[-1], avatar, plan)
            point = await _measure(server, triton_pid, names, speech, plan, gpus)
            found(point)
            if not point.on_time:
                return
    finally:
        for name in names:
            await server.call("DELETE", f"/v1/channels/{name}")


async def _create(server: ProductServer, name: str, avatar: str, plan: GpuPlan) -> None:
    values: dict[str, Any] = {"channel": name, "avatar": avatar, "targets": []}
    if plan.size is not None:
        values["picture_size"] = list(plan.size)
    await server.call("POST", "/v1/channels", values)
    while (await server.call("GET", f"/v1/channels/{name}"))["stream"] is None:  # noqa: ASYNC110 - it runs elsewhere
        await asyncio.sleep(0.1)


async def _measure(
    server: ProductServer, triton_pid: int, names: list[str], speech: Speech, plan: GpuPlan, gpus: GpuWatch
) -> LivePoint:
    speakers = [_Speaker(server, name, speech.wav, plan) for name in names]
    tasks = [asyncio.create_task(speaker.run()) for speaker in speakers]
    try:
        await _all_speak(speakers, tasks)
        roles = LoadMeter(server.pid)
        gpus.forget_load()
        cpu = CpuMeter(roles.processes, lambda: triton_processes(triton_pid))
        before = await _counters(server, names)
        spoken, began = await _spoken(speakers), time.monotonic()
        await asyncio.wait(tasks, timeout=plan.live_s, return_when=asyncio.FIRST_COMPLETED)
        _raise_failure(tasks)
        after = await _counters(server, names)
        spoken, seconds = await _spoken(speakers) - spoken, time.monotonic() - began
        cores, utilization = cpu.cores(), gpus.utilization()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in names:
            await server.call("POST", f"/v1/channels/{name}/interrupt?queue=true")
    made = {counter: after[counter] - before[counter] for counter in _COUNTERS}
    due = round(FPS * seconds * len(names))
    return LivePoint(
        channels=len(names),
        seconds=round(seconds, 2),
        frames_due=due,
        spoken_frames=spoken,
        spoken_share=round(spoken / due, 3),
        gpu_utilization=utilization,
        cores=cores,
        **made,
    )


async def _spoken(speakers: list[_Speaker]) -> int:
    return sum([await speaker.spoken_frames() for speaker in speakers])


async def _all_speak(speakers: list[_Speaker], tasks: list[asyncio.Task[None]]) -> None:
    while not all([await speaker.speaks() for speaker in speakers]):
        _raise_failure(tasks)
        await asyncio.sleep(0.2)


def _raise_failure(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()


async def _counters(server: ProductServer, names: list[str]) -> dict[str, int]:
    """Sums over the channels, which report once a second; a report that is under way is waited for."""
    await asyncio.sleep(_STATUS_EVERY_S)
    listed = (await server.call("GET", "/v1/channels"))["channels"]
    streams = [channel["stream"] for channel in listed if channel["channel"] in names]
    return {counter: sum(stream[counter] for stream in streams if stream) for counter in _COUNTERS}


class _Speaker:
    """Keeps a channel's queue filled."""

    def __init__(self, server: ProductServer, channel: str, wav: bytes, plan: GpuPlan) -> None:
        self._server = server
        self._channel = channel
        self._wav = wav
        self._plan = plan
        self._queued: list[str] = []
        self._played = 0

    async def run(self) -> None:
        """Uploads the next speech as one ends, until it is cancelled; raises ProductFailed when one fails."""
        while True:
            while len(self._queued) < _QUEUED:
                plan = self._plan
                self._queued.append(await self._server.say(self._wav, self._channel, plan.steps, plan.guidance))
            task = await self._server.task(self._queued[0], "done")
            del self._queued[0]
            self._played += int(task["frames"]["played"])

    async def speaks(self) -> bool:
        """Whether a speech plays or has played."""
        return await self.spoken_frames() > 0

    async def spoken_frames(self) -> int:
        """Frames of all speeches that the channel has played until now."""
        before, current = self._played, self._queued[:1]
        if not current:
            return before
        task = await self._server.call("GET", f"/v1/tasks/{current[0]}")
        # A speech that ended meanwhile may be counted already.
        return max(self._played, before + int(task["frames"]["played"]))
