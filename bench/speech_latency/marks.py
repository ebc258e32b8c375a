"""Marks in a speech: chirps that are found again in the received sound, to less than a millisecond."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.stream.reading import Sound
from streaming.config import SAMPLE_RATE_HZ

EVERY_S = 1.0
_LENGTH_S = 0.04
_FROM_HZ, _TO_HZ = 2000.0, 6000.0
_PEAK = 12_000
_LIKE = 0.5
"""Likeness to a chirp, 1 for the same, from which on it is one; speech has below 0.2."""
_BLOCK_S = 20.0
_PHRASE_S, _PAUSE_S = 4.0, (3.2, 3.9)


def _chirp() -> NDArray[np.float64]:
    times = np.arange(round(_LENGTH_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * (_FROM_HZ * times + (_TO_HZ - _FROM_HZ) / (2 * _LENGTH_S) * times**2)
    return np.asarray(_PEAK * np.hanning(len(times)) * np.sin(phase), np.float64)


CHIRP = _chirp()


def marked(speech: NDArray[np.int16]) -> NDArray[np.int16]:
    """The speech, int16 [n] at 48 kHz, with a chirp in its place at the beginning of each second."""
    out = speech.copy()
    for start in range(0, len(out) - len(CHIRP) + 1, round(EVERY_S * SAMPLE_RATE_HZ)):
        out[start : start + len(CHIRP)] = CHIRP
    return out


def find_marks(sound: Sound) -> NDArray[np.float64]:
    """The times in seconds of the stream at which chirps begin, in their order."""
    found: list[float] = []
    step, overlap = round(_BLOCK_S * SAMPLE_RATE_HZ), len(CHIRP)
    for first in range(0, len(sound.samples), step):
        block = sound.samples[first : first + step + overlap].astype(np.float64)
        if len(block) > overlap:
            found += [sound.start_s + (first + at) / SAMPLE_RATE_HZ for at in _in_block(block, step)]
    # One that lies on the border of two blocks is found in both.
    return np.array([at for at, before in zip(found, [-np.inf, *found], strict=False) if at - before > EVERY_S / 2])


def with_pauses(speech: NDArray[np.int16]) -> NDArray[np.int16]:
    """The speech, int16 [n] at 48 kHz, silent for 0.7 s of every four: people pause, and a speech catches up then."""
    out = speech.copy()
    begin, end = (round(at * SAMPLE_RATE_HZ) for at in _PAUSE_S)
    for start in range(0, len(out), round(_PHRASE_S * SAMPLE_RATE_HZ)):
        out[start + begin : start + end] = 0
    return out


def _in_block(block: NDArray[np.float64], step: int) -> list[int]:
    size = len(block) + len(CHIRP)
    likeness = np.fft.irfft(np.fft.rfft(block, size) * np.conj(np.fft.rfft(CHIRP, size)), size)[: len(block)]
    energy = np.cumsum(np.r_[0.0, block**2, np.zeros(len(CHIRP))])
    around = np.sqrt(np.maximum(energy[len(CHIRP) :][: len(block)] - energy[: len(block)], 1.0))
    likeness /= np.linalg.norm(CHIRP) * around
    found: list[int] = []
    for start in np.flatnonzero(likeness[:step] > _LIKE):
        if not found or start - found[-1] > EVERY_S / 2 * SAMPLE_RATE_HZ:
            found.append(int(start) + int(np.argmax(likeness[start : start + len(CHIRP)])))
    return found
