"""Channels that begin to speak at the same moment share the GPUs, and none of them stalls once it has begun.

Speech makers, generation, urgency and mixer are the product's; the GPUs take a measured H200's times, in virtual time.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.gpu.emulated.times import GpuTimes
from bench.virtual_loop import in_virtual_time
from inference.capacity import Capacity
from speech.audio.frames import SilentFrames
from speech.events import SpeechEvent
from speech.generation import GenerationSettings
from speech.live import LiveSettings
from speech.log import LogEnd, SpeechLog
from speech.pacing import Pace
from speech.source import SpeechSource
from speech.speaking import SpeechMaker
from speech.urgency import UrgentFirst
from tests.support.checkout import ROOT
from tests.support.mixed_channel import FPS, MixedChannel, QuickLog, SpokenLog

TIMES = GpuTimes.of_record(Path(ROOT / "docs" / "benchmarks" / "gpu-h200.json"))
BATCH, STEPS = len(TIMES.unet_step_ms), 20
SPEECH_S, WATCHED_S = 5, 14
SLICE_S = 0.01
# A step of one chunk of 4, 8 and 16 frames takes 3.10, 3.94 and 5.59 ms on an H200; two of 8 take as long as one of 16.
SHARE_ALONE, SHARE_TOGETHER = {4: 0.55, 8: 0.70, 16: 1.0}, {4: 0.40, 8: 0.55, 16: 1.0}


class Gpu:
    """Works on a batch of the UNet and one of the decoder by turns."""

    def __init__(self) -> None:
        self.left: dict[str, float] = {}

    async def work(self, model: str, seconds: float) -> None:
        self.left[model] = seconds
        while self.left[model] > 1e-9:
            slice_s = min(SLICE_S, self.left[model])
            await asyncio.sleep(slice_s * len(self.left))
            self.left[model] -= slice_s
        del self.left[model]


class Gpus:
    """Where TritonClient stands: each model's queue is first come, first served, and whoever is free takes a batch."""

    def __init__(self, count: int) -> None:
        self._queues: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {"unet": deque(), "decoder": deque()}
        gpus = [Gpu() for _ in range(count)]
        self._free = {model: list(gpus) for model in self._queues}
        self._batches: set[asyncio.Task[None]] = set()

    async def features(self, window: object) -> NDArray[Any]:
        await asyncio.sleep(0.02)
        return np.zeros((1500, 5, 384), np.float16)

    async def faces(self, noise: object, condition: object, audio: NDArray[Any], *_: object) -> NDArray[Any]:
        frames = len(audio)
        for model in self._queues:
            answered = asyncio.get_running_loop().create_future()
            self._queues[model].append((frames, answered))
            self._next(model)
            await answered
        return np.zeros((frames, 1, 1, 3), np.uint8)

    async def recover(self, error: object) -> bool:
        return False

    def _next(self, model: str) -> None:
        queue, free = self._queues[model], self._free[model]
        while queue and free:
            frames = queue[0][0]
            batch: list[asyncio.Future[None]] = []
            while queue and queue[0][0] == frames and len(batch) < BATCH:  # Triton joins requests of one shape
                batch.append(queue.popleft()[1])
            task = asyncio.create_task(self._work(model, free.pop(0), frames, batch))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)

    async def _work(self, model: str, gpu: Gpu, frames: int, batch: list[asyncio.Future[None]]) -> None:
        size = len(batch)
        if model == "unet":
            share = (SHARE_ALONE if size == 1 else SHARE_TOGETHER)[frames]
            ms = STEPS * TIMES.unet_step_ms[size - 1] * share
        else:
            ms = size * TIMES.decoder_ms * frames / 16
        await gpu.work(model, ms / 1000)
        await asyncio.sleep(0.002)  # the ways there and back
        for answered in batch:
            if not answered.done():
                answered.set_result(None)
        self._free[model].append(gpu)
        self._next(model)


async def unheard(speech_id: str, event: SpeechEvent) -> None:
    """Nobody keeps account of these speeches."""


def speech(folder: Path, arrives_in_s: float) -> SpeechLog:
    path = folder / "speech"
    path.write_bytes(bytes(SPEECH_S * FPS * 2 * (640 + 1920)))
    if not arrives_in_s:
        return QuickLog(path, LogEnd())
    log = SpokenLog(path, LogEnd())
    log.speed = SPEECH_S / arrives_in_s
    return log


async def watched(
    folder: Path,
    gpus: int,
    channels: int,
    first_speeches_at: Iterable[float],
    source: SpeechSource = SpeechSource.UPLOAD,
    arrives_in_s: float = 0.0,
) -> list[MixedChannel]:
    """The channels after a while, each of which says one speech after another from its moment on."""
    loop, models = asyncio.get_running_loop(), Gpus(gpus)
    capacity = Capacity(gpus, BATCH)
    urgent = UrgentFirst(1)
    urgent.resize(2 * capacity.chunks + 1, capacity)  # as the orchestrator does
    avatar: Any = SimpleNamespace(condition=np.zeros((1, 9, 1, 1), np.float16), frame_index=lambda position: 0)
    everyone = [MixedChannel() for _ in range(channels)]

    async def speak(channel: Any, begins_at: float) -> None:
        maker = SpeechMaker(
            models,
            avatar,
            unheard,
            SilentFrames(0, 2),
            loop.time,
            GenerationSettings(),
            urgent,
            Pace(),
            LiveSettings(),
        )
        await asyncio.sleep(begins_at)
        for number in range(100):
            task: Any = SimpleNamespace(id=str(number), seed=1, steps=STEPS, guidance=1.0, source=source)
            await maker.say(task, speech(folder, arrives_in_s), channel)

    speakers = [asyncio.create_task(speak(*each)) for each in zip(everyone, first_speeches_at, strict=True)]
    await asyncio.gather(*(channel.play(WATCHED_S) for channel in everyone))
    for speaker in speakers:
        speaker.cancel()
        with suppress(asyncio.CancelledError):
            await speaker
    return everyone


@pytest.mark.parametrize(("gpus", "channels"), [(1, 1), (1, 2), (1, 4), (2, 9), (4, 18), (8, 36)])
@pytest.mark.parametrize("apart_s", [0.0, 0.01, 0.15])
def test_who_begins_at_once_begins_later_and_never_stalls(
    tmp_path: Path, gpus: int, channels: int, apart_s: float
) -> None:
    found = in_virtual_time(watched(tmp_path, gpus, channels, [apart_s * number for number in range(channels)]))
    assert sum(channel.mixer.counters.late_frames for channel in found) == 0
    spoken_s = [channel.spoken / FPS for channel in found]
    assert min(spoken_s) > WATCHED_S - 6 - apart_s * channels, "all of them have begun in good time"


def test_who_speaks_alone_begins_with_its_first_chunk(tmp_path: Path) -> None:
    (alone,) = in_virtual_time(watched(tmp_path, 1, 1, [0.0]))
    # Lead of 0.2 s, and not a frame more: the first chunk takes 0.14 s.
    assert alone.spoken >= FPS * (WATCHED_S - 0.2) - 3


def test_socket_whose_sound_is_there_at_once_begins_with_its_first_chunk_too(tmp_path: Path) -> None:
    # Its second chunk has 8 frames and those behind it 16: it shares no batch with them, and isn't waited for as if.
    (alone,) = in_virtual_time(watched(tmp_path, 1, 1, [0.0], SpeechSource.STREAM, arrives_in_s=0.045))
    assert alone.mixer.counters.late_frames == 0
    assert alone.heard[0][0] <= 0.2 + 2 / FPS, "the lead, and no more"
    assert alone.spoken >= FPS * (WATCHED_S - 0.2) - 5
