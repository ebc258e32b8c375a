"""GPUs that take a measured H200's times, in virtual time, where TritonClient stands."""

import asyncio
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.gpu.emulated.times import GpuTimes
from tests.support.checkout import ROOT

TIMES = GpuTimes.of_record(Path(ROOT / "docs" / "benchmarks" / "gpu-h200.json"))
BATCH, STEPS = len(TIMES.unet_step_ms), 20
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
