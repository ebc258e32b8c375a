"""Audio in units of video frames: 25 frames a second, 640 samples each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT

FPS = CONTRACT.frames_per_second
SAMPLES_PER_FRAME = CONTRACT.samples_per_frame


def pad_to_frames(pcm: NDArray[np.float32], silent_frames: int) -> NDArray[np.float32]:
    """`pcm` with `silent_frames` of silence at both ends and its last frame padded; no sample is lost.

    `pcm` is float32 [samples] at 16 kHz; the result's length is a multiple of 640.
    """
    tail = -len(pcm) % SAMPLES_PER_FRAME
    return np.pad(pcm, (silent_frames * SAMPLES_PER_FRAME, silent_frames * SAMPLES_PER_FRAME + tail))


def frame_audio(pcm: NDArray[np.float32]) -> NDArray[np.int16]:
    """Whole frames of `pcm` (float32 in [-1, 1], length a multiple of 640) as int16 [frames, 640]."""
    scaled: NDArray[np.float32] = np.clip(np.rint(pcm * np.float32(32768)), -32768, 32767)
    return scaled.astype(np.int16).reshape(-1, SAMPLES_PER_FRAME)
