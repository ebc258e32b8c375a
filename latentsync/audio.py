"""From speech to the UNet's audio: windows of PCM for Whisper, windows of features for video frames (numpy only)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentsync.contract import CONTRACT

Real = TypeVar("Real", bound="np.floating[Any]")

# Fills a window after the end of the speech. Not zeros: LatentSync pads the mel spectrogram instead, and Whisper gives
# other features for silence.
PADDING = np.float32(np.nan)


def frame_count(samples: int) -> int:
    """Number of video frames at 25 frames/s that cover so many samples at 16 kHz; the last may be partly covered."""
    return -(-samples // CONTRACT.samples_per_frame)


def speech_samples(window: NDArray[np.float32]) -> int:
    """Samples of a window [n] before its first PADDING."""
    padding = np.isnan(window)
    return int(padding.argmax()) if padding.any() else len(window)


def split_windows(pcm: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[int]]:
    """Splits mono PCM [n] at 16 kHz in [-1, 1] into Whisper's windows of 30 s.

    Returns float32 [k, 480000], k ≥ 1, filled with PADDING after the last sample, and how many features (20 ms each)
    of each window are speech: at most 1500, and at least one in all. Raises ValueError for anything but one dimension.
    """
    if pcm.ndim != 1:
        raise ValueError(f"PCM must be mono, of one dimension; got shape {pcm.shape}")
    length, step = CONTRACT.window_samples, CONTRACT.samples_per_position
    starts = range(0, max(len(pcm) - step + 1, 1), length)
    windows = np.full((len(starts), length), PADDING, dtype=np.float32)
    counts = []
    for window, start in zip(windows, starts, strict=True):
        part = pcm[start : start + length]
        window[: len(part)] = part
        counts.append(len(part) // step)
    counts[-1] = max(counts[-1], 1)
    return windows, counts


def join_features(features: Sequence[NDArray[Real]], counts: Sequence[int]) -> NDArray[Real]:
    """Cuts each window's features [1500, 5, 384] to its count and joins them to [n, 5, 384], in their own dtype."""
    return np.concatenate([window[:count] for window, count in zip(features, counts, strict=True)])


def frame_windows(features: NDArray[Real], frames: ArrayLike | range) -> NDArray[Real]:
    """The features that each video frame hears: 2i − 4 … 2i + 5 for frame i, indices clamped to the array.

    Takes features [n, 5, 384] and frame numbers [f]; returns [f, 50, 384] in the features' dtype.
    """
    numbers = np.asarray(frames, dtype=np.int64)
    positions = CONTRACT.frame_window_positions
    offsets = np.arange(positions) - CONTRACT.positions_before_frame
    indices = np.clip(CONTRACT.positions_per_frame * numbers[:, None] + offsets, 0, len(features) - 1)
    windows: NDArray[Real] = features[indices].reshape(len(numbers), positions * features.shape[1], features.shape[2])
    return windows
