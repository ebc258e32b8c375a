"""Audio in units of video frames: 25 frames a second, 640 samples each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT

FPS = CONTRACT.frames_per_second
SAMPLES_PER_FRAME = CONTRACT.samples_per_frame


@dataclass(frozen=True)
class SilentFrames:
    """Frames of silence that are shown before and behind a speech, while its face fades in and out."""

    before: int
    behind: int


def pad_to_frames(pcm: NDArray[np.float32], before: int = 0, behind: int = 0) -> NDArray[np.float32]:
    """`pcm` with so many frames of silence at its ends and its last frame padded; no sample is lost.

    `pcm` is float32 [samples] at 16 kHz; the result's length is a multiple of 640.
    """
    tail = -len(pcm) % SAMPLES_PER_FRAME
    return np.pad(pcm, (before * SAMPLES_PER_FRAME, behind * SAMPLES_PER_FRAME + tail))


def frame_audio(pcm: NDArray[np.float32]) -> NDArray[np.int16]:
    """Whole frames of `pcm` (float32 in [-1, 1], length a multiple of 640) as int16 [frames, 640]."""
    scaled: NDArray[np.float32] = np.clip(np.rint(pcm * np.float32(32768)), -32768, 32767)
    return scaled.astype(np.int16).reshape(-1, SAMPLES_PER_FRAME)
