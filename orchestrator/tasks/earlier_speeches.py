"""Speeches as earlier versions stored them: samples at 16 kHz alone, which viewers heard too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES, SOUND_RATE_HZ
from speech.log import SoundFrames

SUFFIX = ".pcm"

_FACTOR = SOUND_RATE_HZ // CONTRACT.sample_rate_hz
# Samples at each side of an output sample, and the shape of the Kaiser window over them: 80 dB.
_REACH = 32
_BETA = 8.0


def read_earlier_speech(path: Path) -> SoundFrames:
    """A file of int16 mono at 16 kHz as frames, the last one filled up with zeros; raises OSError."""
    heard = np.fromfile(path, dtype="<i2").astype(np.int16)
    heard = np.pad(heard, (0, -len(heard) % CONTRACT.samples_per_frame))
    sound = upsampled(heard)
    return SoundFrames(heard.reshape(-1, CONTRACT.samples_per_frame), sound.reshape(-1, SOUND_FRAME_SAMPLES))


def upsampled(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """int16 [n] at 16 kHz as int16 [3n] at 48 kHz, by a windowed sinc; the samples themselves stay."""
    sound = np.empty((len(samples), _FACTOR), np.int16)
    for phase in range(_FACTOR):
        distance = np.arange(-_REACH, _REACH + 1) + phase / _FACTOR
        window = np.i0(_BETA * np.sqrt(np.maximum(1 - (distance / (_REACH + 1)) ** 2, 0))) / np.i0(_BETA)
        taps = (np.sinc(distance) * window).astype(np.float32)
        filtered = np.convolve(samples.astype(np.float32), taps)[_REACH : _REACH + len(samples)]
        sound[:, phase] = np.clip(np.rint(filtered), -32768, 32767)
    return sound.reshape(-1)
