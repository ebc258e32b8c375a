"""Generation of one speech: chunks are requested concurrently, a bounded number ahead, and returned in order."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference import span
from inference.attempts import Recover, attempt, no_recovery
from inference.client import CHUNK_FRAMES
from latentsync.scheduler import task_noise
from speech.audio.frames import frame_audio, pad_to_frames
from speech.features import FeatureModel, SpeechFeatures
from speech.pacing import RateMeter, wait_before_start_s

Slot = Callable[[int], AbstractAsyncContextManager[None]]
"""Waits for a slot for the chunk that begins with this frame of the speech, and holds it for the block."""


@asynccontextmanager
async def unlimited_slots(first_frame: int) -> AsyncGenerator[None, None]:
    """A slot at once for every chunk."""
    yield


class SpeechModels(FeatureModel, Protocol):
    """What generation needs of Triton; `TritonClient` is one."""

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        """Faces [16, R, R, 3] of one chunk."""
        ...


class SpokenAvatar(Protocol):
    """What generation needs of an avatar; `latentsync.avatar.PreparedAvatar` is one."""

    @property
    def condition(self) -> NDArray[np.float16]:
        """Mask, masked-image latents and reference latents of every frame, [N, 9, h, w]."""
        ...

    def frame_index(self, position: int) -> int:
        """The frame at a position of the endless idle path."""
        ...


@dataclass(frozen=True)
class SpeechRequest:
    """The samples of a speech and the parameters of its generation.

    `pcm` is float32 [samples] at 16 kHz and includes the silence in which the face fades (`pad_to_frames`). Whisper
    hears its first `unspoken_frames` too, which have no faces and aren't counted. The seed determines the noise, which
    is the same for the whole speech.
    """

    pcm: NDArray[np.float32]
    seed: int
    steps: int
    guidance: float
    unspoken_frames: int = 0


@dataclass(frozen=True)
class SpeechChunk:
    """The next frames: faces uint8 RGB [k, R, R, 3] and their audio int16 [k, 640], from frame `first_frame` on."""

    first_frame: int
    faces: NDArray[np.uint8]
    audio: NDArray[np.int16]


@dataclass(frozen=True)
class GenerationSettings:
    """How much of a speech is requested or held at once, and how many attempts a failing request gets."""

    chunks_ahead: int = 4
    windows_ahead: int = 1
    attempts: int = 2

    def __post_init__(self) -> None:
        if min(self.chunks_ahead, self.attempts) < 1 or self.windows_ahead < 0:
            raise ValueError(f"chunks_ahead and attempts must be at least 1, windows_ahead at least 0: {self}")


@dataclass(frozen=True)
class GenerationTimings:
    """Seconds since the generation began, sums over requests, and frames/s while requests were in flight."""

    frames: int
    first_chunk_s: float | None
    elapsed_s: float
    whisper_s: float
    chunks_s: float
    frames_per_s: float | None


class SpeechGeneration:
    """The generation of one speech; iterate `chunks()` once, with `contextlib.aclosing` or to its end.

    Call `aclose()` where `request_features()` was called and `chunks()` may never be iterated.
    """

    def __init__(
        self,
        models: SpeechModels,
        avatar: SpokenAvatar,
        request: SpeechRequest,
        settings: GenerationSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        slot: Slot = unlimited_slots,
        recover: Recover = no_recovery,
    ) -> None:
        """`slot` is held while a chunk is generated; `recover` repairs what keeps failing."""
        if not len(request.pcm):
            raise ValueError("the speech has no samples")
        self._models = models
        self._avatar = avatar
        self._request = request
        self._settings = settings or GenerationSettings()
        self._clock = clock
        self._slot = slot
        self._recover = recover
        self._pcm = pad_to_frames(request.pcm)
        self._audio = frame_audio(self._pcm)[request.unspoken_frames :]
        self._noise = task_noise(request.seed, avatar.condition.shape[-1])
        self._meter = RateMeter(clock)
        self._began = clock()
        self._first_chunk_s: float | None = None
        self._chunks_s = 0.0
        self._features = SpeechFeatures(
            models, self._pcm, self._settings.windows_ahead, self._settings.attempts, clock, recover
        )
        self._given = 0

    @property
    def frame_count(self) -> int:
        """Number of frames of the whole speech."""
        return len(self._audio)

    @property
    def timings(self) -> GenerationTimings:
        """The timings until now."""
        return GenerationTimings(
            frames=self._given,
            first_chunk_s=self._first_chunk_s,
            elapsed_s=self._clock() - self._began,
            whisper_s=sum(self._features.whisper_s),
            chunks_s=self._chunks_s,
            frames_per_s=self._meter.frames_per_s,
        )

    def wait_before_start_s(self, expected_rate: float | None = None, next_chunk_s: float = 0.0) -> float | None:
        """Seconds until the speech may start and play without an underrun; None while no rate is known.

        The rate of an earlier speech, `expected_rate`, is used during the first chunks: their time is mostly the
        pipeline's latency and says little about its rate. `next_chunk_s` is the time until the next chunk, where that
        is later than the rate predicts.
        """
        measured = self._meter.frames_per_s
        early = self._given <= (1 + self._settings.chunks_ahead) * CHUNK_FRAMES
        rate = (expected_rate or measured) if early else (measured or expected_rate)
        if rate is None:
            return None
        return wait_before_start_s(rate, self._given, self.frame_count, CHUNK_FRAMES, next_chunk_s=next_chunk_s)

    def request_features(self) -> None:
        """Request the first features, which don't depend on the speech's position on the stream."""
        self._features.begin()

    async def aclose(self) -> None:
        """Cancel the requests in flight."""
        await self._features.aclose()

    async def chunks(self, first_position: int = 0) -> AsyncGenerator[SpeechChunk, None]:
        """The speech's chunks in order, 16 frames each and the last one shorter, from a position of the idle path.

        At most `chunks_ahead` are requested or held ahead of the reader. The others are requested after the first has
        arrived: Triton would put them into one batch with it, and a batch takes as many times longer. Leaving the
        iteration early cancels the requests in flight. Raises `InferenceFailed` or `TritonUnavailable` when a chunk
        could not be generated, and ends there.
        """
        settings, total = self._settings, math.ceil(self.frame_count / CHUNK_FRAMES)
        self._began = self._clock()
        ahead: deque[asyncio.Task[SpeechChunk]] = deque()
        indices = iter(range(total))

        def request(most: int) -> None:
            for index in itertools.islice(indices, max(0, most - len(ahead))):
                ahead.append(asyncio.create_task(self._chunk(first_position, index)))

        try:
            request(1)
            while ahead:
                chunk = await ahead[0]
                ahead.popleft()
                if self._first_chunk_s is None:
                    self._first_chunk_s = self._clock() - self._began
                self._given += len(chunk.faces)
                self._features.move_on(self._request.unspoken_frames + chunk.first_frame + CHUNK_FRAMES)
                request(settings.chunks_ahead - 1)  # the yielded chunk counts until the reader asks for the next
                yield chunk
                request(settings.chunks_ahead)
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)
            await self.aclose()

    async def _chunk(self, first_position: int, index: int) -> SpeechChunk:
        first = index * CHUNK_FRAMES
        count = min(CHUNK_FRAMES, self.frame_count - first)
        # The last chunk is padded with its last frame, and cut below.
        frames = np.minimum(np.arange(CHUNK_FRAMES), count - 1)
        heard = self._request.unspoken_frames + first
        audio = (await self._features.for_frames(heard, heard + count - 1))[frames]
        rows = [self._avatar.frame_index(first_position + first + int(frame)) for frame in frames]
        condition = np.ascontiguousarray(self._avatar.condition[rows])
        self._meter.started()
        begun, made = self._clock(), 0
        try:
            # Waiting for other channels' chunks counts too: the rate is that at which this channel gets its faces.
            with span.child("chunk", chunk=index, frames=count, steps=self._request.steps):
                async with self._slot(first):
                    faces = await attempt(
                        lambda: self._faces(condition, audio), f"chunk {index}", self._settings.attempts, self._recover
                    )
            made = count
        finally:
            self._meter.ended(made)
            self._chunks_s += self._clock() - begun
        return SpeechChunk(first, faces[:count], self._audio[first : first + count])

    async def _faces(self, condition: NDArray[np.float16], audio: NDArray[np.float16]) -> NDArray[np.uint8]:
        request = self._request
        return await self._models.faces(self._noise, condition, audio, request.steps, request.guidance)
