"""Sound for viewers from what Whisper hears, until sources keep their own quality: it has nothing above 8 kHz."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES, SOUND_RATE_HZ

_TIMES = SOUND_RATE_HZ // CONTRACT.sample_rate_hz
_REACH = 12
"""Samples on each side that a new one is computed from."""


def sound_frames(pcm: NDArray[np.int16], first: int, count: int) -> NDArray[np.int16]:
    """Frames `first` … of a speech, int16 [samples] at 16 kHz, as int16 [count, 1920] at 48 kHz.

    Each new sample depends on the speech alone and not on how it is cut into frames; every third is a given one. The
    filter is a sinc at 8 kHz under a Hann window.
    """
    length = CONTRACT.samples_per_frame
    begin, end = first * length - _REACH, (first + count) * length + _REACH
    inside = pcm[max(begin, 0) : max(end, 0)].astype(np.float32)
    around = np.pad(inside, (max(-begin, 0), 0))
    around = np.pad(around, (0, end - begin - len(around)))
    phases = [np.convolve(around, kernel, "valid") for kernel in _KERNELS]
    interleaved = np.stack(phases, axis=1).reshape(count, SOUND_FRAME_SAMPLES)
    return np.asarray(np.clip(np.rint(interleaved), -32768, 32767), np.int16)


def _kernel(phase: int) -> NDArray[np.float32]:
    """Weights for the sample that lies `phase` thirds behind a given one."""
    distance = np.arange(-_REACH, _REACH + 1) + phase / _TIMES
    window = np.where(np.abs(distance) < _REACH, 0.5 + 0.5 * np.cos(np.pi * distance / _REACH), 0.0)
    weights = np.sinc(distance) * window
    return np.asarray(weights / weights.sum(), np.float32)


_KERNELS = [_kernel(phase) for phase in range(_TIMES)]
