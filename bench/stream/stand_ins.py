"""What the measurement puts in the models' place, and the avatar and voice that it speaks with."""

from __future__ import annotations

import asyncio
import io
import math
import time
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.stream.face_code import MAX_SPEECHES, RESOLUTION, FacePlace, draw_face
from inference.capacity import Capacity
from inference.client import FaceModel
from inference.errors import InferenceError, InferenceFailed
from latentsync.avatar import PreparedAvatar
from latentsync.contract import CONTRACT
from latentsync.scheduler import task_noise
from orchestrator.avatars.looping import detect_loop, thumbnail
from orchestrator.avatars.video import read_frames
from speech.speaking import HEARD_SILENCE_FRAMES
from streaming.compositor import fitted
from streaming.config import SAMPLE_RATE_HZ

_CLIP_FRAMES = 250
_PEAK = 3000  # the beep is louder than any speech, which tells them apart
_CURRENT_FEATURE = 4 * 5  # row of a frame's own first feature among its 10 features of 5 layers
_SIDE = RESOLUTION // 8


class NumberedModels:
    """Stands where TritonClient stands: no network is run, every face says its speech and frame.

    A speech is known by its seed, which is its number. `rate` is the frames/s that it makes; `late` holds, by speech, a
    frame and the seconds by which the chunk with that frame is late. `clock` gives seconds.
    """

    def __init__(
        self,
        speeches: int,
        rate: float,
        late: dict[int, tuple[int, float]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if speeches >= MAX_SPEECHES:
            raise ValueError(f"at most {MAX_SPEECHES - 1} speeches have numbers, got {speeches}")
        self._numbers = {task_noise(number, _SIDE).tobytes(): number for number in range(1, speeches + 1)}
        self._rate = rate
        self._late = dict(late)
        self._busy = asyncio.Lock()
        self._clock = clock
        self._fails_until = -math.inf
        # One thread: malloc keeps for each thread as much as it ever used, and the server's memory is measured.
        self._drawing = ThreadPoolExecutor(1, "stand-in")

    def fail_for(self, seconds: float) -> None:
        """From now on every request fails for so long, as with a model whose process was killed."""
        self._fails_until = self._clock() + seconds

    async def __aenter__(self) -> NumberedModels:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._drawing.shutdown()

    async def is_ready(self) -> bool:
        """Always: a model that fails is loaded again, and Triton is there meanwhile."""
        return True

    async def face_models(self) -> dict[str, FaceModel]:
        """The size of the numbered faces."""
        return {"numbered": FaceModel(RESOLUTION, _SIDE)}

    def drawing_with(self, checkpoint: str | None) -> NumberedModels:
        """These, for every checkpoint."""
        return self

    async def capacity(self) -> Capacity:
        """A batch of four, as one small GPU would."""
        return Capacity(instances=1, batch=4)

    async def recover(self, error: InferenceError) -> bool:
        """Waits until requests succeed again, as a model takes time to be loaded."""
        await asyncio.sleep(max(0.0, self._fails_until - self._clock()))
        return True

    async def each_server(self) -> dict[str, NumberedModels]:
        """One."""
        return {"numbered": self}

    async def probe_models(self, latent_size: int) -> dict[str, InferenceError | None]:
        """No model has a process of its own."""
        return {}

    def watch_reloads(self, on_reload: Callable[[str, bool], None]) -> None:
        """No model is loaded again."""

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        """Features that hold their own number in each place; raises InferenceFailed during a fault."""
        self._check()
        shape = CONTRACT.features_shape(len(window))
        return np.broadcast_to(np.arange(shape[0], dtype=np.float16)[:, None, None], shape).copy()

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        """A chunk's numbered faces, at the rate of one model that serves all channels.

        Raises InferenceFailed during a fault.
        """
        speech = self._numbers[noise.tobytes()]
        frames = [int(value) // 2 - HEARD_SILENCE_FRAMES for value in audio[:, _CURRENT_FEATURE, 0]]
        async with self._busy:
            await asyncio.sleep(len(frames) / self._rate)
        self._check()
        frame, delay_s = self._late.get(speech, (-1, 0.0))
        if frame in frames:
            del self._late[speech]
            await asyncio.sleep(delay_s)
        drawn = partial(_numbered_faces, speech, frames)
        return await asyncio.get_running_loop().run_in_executor(self._drawing, drawn)

    def _check(self) -> None:
        if self._clock() < self._fails_until:
            raise InferenceFailed("the stand-in for the models fails on purpose", "unet")


def _numbered_faces(speech: int, frames: list[int]) -> NDArray[np.uint8]:
    return np.stack([draw_face(speech, frame) for frame in frames])


def numbered_avatar(clip: Path, directory: Path, size: tuple[int, int]) -> PreparedAvatar:
    """An avatar of `size` (width, height) from a clip, with its face at `FacePlace.within` and nothing for the UNet."""
    frames = [fitted(frame, size) for frame in islice(read_frames(clip, 10 * _CLIP_FRAMES), _CLIP_FRAMES)]
    count = len(frames)
    return PreparedAvatar.create(
        directory,
        name=directory.name,
        frames=frames,
        matrices=np.repeat(FacePlace.within(*size).matrix[None], count, axis=0),
        condition=np.zeros((count, 9, _SIDE, _SIDE), np.float16),
        loop=detect_loop([thumbnail(frame) for frame in frames]),
        source_sha256="",
    )


def voice(seconds: float, seed: int) -> NDArray[np.int16]:
    """Something like speech, int16 at 48 kHz: a buzz of wandering pitch in syllables, none like another."""
    random = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE_HZ)
    times = np.arange(count) / SAMPLE_RATE_HZ
    knots = np.arange(0, seconds + 0.2, 0.1)
    pitch = np.interp(times, knots, random.uniform(90, 220, len(knots)))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE_HZ
    buzz = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 8))
    noise = random.normal(0, 0.6, count)
    loudness = np.interp(times, knots, random.uniform(0.15, 1.0, len(knots)))
    samples = (buzz + noise) * loudness
    return np.asarray(samples / np.abs(samples).max() * _PEAK, dtype=np.int16)


def as_wav(samples: NDArray[np.int16]) -> bytes:
    """A wav file of int16 mono samples at 48 kHz."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()
