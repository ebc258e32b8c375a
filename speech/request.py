"""What the generation of a speech is asked for, what it needs, and what it gives."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from speech.chunking import ChunkPlan
from speech.features import FeatureModel
from speech.windows import WHOLE_WINDOWS, WindowPolicy

Slot = Callable[[int, int], AbstractAsyncContextManager[None]]
"""Waits for a slot for the chunk that begins with this frame of the speech and has so many; holds it for the block."""


@asynccontextmanager
async def unlimited_slots(first_frame: int, frames: int) -> AsyncGenerator[None, None]:
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
        """Faces [k, R, R, 3] of one chunk of k frames, 4, 8 or 16."""
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


class SpokenPath(Protocol):
    """Where a channel shows motions too: the condition of the frames that will be shown, and cues that change them."""

    @property
    def has_motions(self) -> bool:
        """Whether a motion may be asked for, which can't come before faces that are made already."""
        ...

    async def condition(self, positions: list[int]) -> NDArray[np.float16]:
        """The condition [k, 9, h, w] at positions of the path, which from then on shows those very frames there."""
        ...

    async def cue(self, name: str, position: int) -> None:
        """A motion is to begin at `position`, or soon after it."""
        ...


@dataclass(frozen=True)
class SpeechRequest:
    """How a speech is generated.

    The seed determines the noise, which is the same for the whole speech. Frames before `first_frame` of the timeline,
    and its last `hidden_frames`, are heard and not shown. `catch_up_frames` is None where nothing may be left out; else
    quiet frames are while more than so many wait to be generated. Where it `hears_ahead`, Whisper encodes what the
    second chunk needs beside the first chunk, and not after it.
    """

    seed: int
    steps: int
    guidance: float
    first_frame: int = 0
    hidden_frames: int = 0
    windows: WindowPolicy = WHOLE_WINDOWS
    chunks: ChunkPlan = field(default_factory=ChunkPlan)
    catch_up_frames: int | None = None
    hears_ahead: bool = False


@dataclass(frozen=True)
class FaceChunk:
    """The next frames: faces uint8 RGB [k, R, R, 3] and their sound int16 [k, 1920] at 48 kHz.

    They are frames `first_frame` … of what is shown, and begin at frame `timeline_frame` of the speech's timeline.
    `may_pause` says that the speech may pause behind them unnoticed.
    """

    first_frame: int
    timeline_frame: int
    faces: NDArray[np.uint8]
    sound: NDArray[np.int16]
    may_pause: bool = False


@dataclass(frozen=True)
class GenerationSettings:
    """How many chunks of a speech are requested or held at once, and how many attempts a failing request gets.

    Neighbouring chunks share `overlap_frames`, in which the later one fades in.
    """

    chunks_ahead: int = 4
    attempts: int = 2
    overlap_frames: int = 0

    def __post_init__(self) -> None:
        if min(self.chunks_ahead, self.attempts) < 1:
            raise ValueError(f"chunks_ahead and attempts must be at least 1: {self}")


@dataclass(frozen=True)
class GenerationTimings:
    """Seconds since the generation began, sums over requests, and frames/s while requests were in flight."""

    frames: int
    first_chunk_s: float | None
    elapsed_s: float
    whisper_s: float
    chunks_s: float
    frames_per_s: float | None
