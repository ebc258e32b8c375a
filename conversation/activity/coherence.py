"""How much of the microphone's sound is a delayed and filtered copy of what was played, whatever its loudness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW = 4096
"""Samples that are compared, 256 ms at 16 kHz."""
LONGEST = 16_000
"""Delay in samples, 1 s: a player that had to wait for the stream is behind it by so much for a while."""
_USUAL = 7200  # shorter ones are, 450 ms
_SPECTRUM = 20_480  # at least WINDOW + LONGEST, so that no delay is taken for another one; of small factors
_SEARCHED = slice(_SPECTRUM * 150 // 16_000, _SPECTRUM * 4000 // 16_000)
_SEGMENT, _HOP = 256, 64
_BINS = slice(2, 64)  # 125 Hz … 4 kHz: loudspeakers have less below, codecs keep no phase above
_TAPER = np.hanning(_SEGMENT)


@dataclass(frozen=True)
class Explained:
    """The share of the microphone's power that is coherent with what was played `delay` samples before, 0 … 1.

    `gain` is how loud it is in comparison.
    """

    share: float
    delay: int
    gain: float


def explained(heard: NDArray[np.float64], played: NDArray[np.float64]) -> Explained:
    """Of the latest `WINDOW` samples of the microphone, and `WINDOW + LONGEST` of what was played, up to the same time.

    The delay is where their cross-correlation, half whitened, has its peak, of usual delays or of longer ones: else a
    loud moment that is long past would hide a soft one. The share is the magnitude-squared coherence (Carter, 1987) of
    segments of 16 ms, weighted by the microphone's power. One person's speech explains about a twentieth of another
    one's, and more than two thirds of what a codec and a room make of it.
    """
    return max((_at(delay, heard, played) for delay in _delays(heard, played)), key=lambda found: found.share)


def _at(delay: int, heard: NDArray[np.float64], played: NDArray[np.float64]) -> Explained:
    source = played[LONGEST - delay : LONGEST - delay + WINDOW]
    ours, theirs = _segments(heard), _segments(source)
    power, theirs_power = (np.abs(ours) ** 2).sum(0), (np.abs(theirs) ** 2).sum(0)
    cross = np.abs((ours * np.conj(theirs)).sum(0)) ** 2
    total = float(power.sum())
    share = float((cross / np.maximum(theirs_power, 1e-9)).sum()) / total if total else 0.0
    loud = float((source**2).sum())
    return Explained(share, delay, float(np.sqrt((heard**2).sum() / loud)) if loud else 0.0)


def _delays(heard: NDArray[np.float64], played: NDArray[np.float64]) -> list[int]:
    """The likeliest one of each range."""
    ours, theirs = np.fft.rfft(heard, _SPECTRUM), np.fft.rfft(played, _SPECTRUM)
    cross = np.zeros(len(ours), np.complex128)
    product = ours[_SEARCHED] * np.conj(theirs[_SEARCHED])
    cross[_SEARCHED] = product / np.sqrt(np.abs(product) + 1e-9)
    alike = np.fft.irfft(cross, _SPECTRUM)
    # A delay of LONGEST is no shift between the two arrays, a shorter one is a negative shift of the microphone's.
    by_delay = alike[(np.arange(LONGEST + 1) - LONGEST) % _SPECTRUM]
    return [int(by_delay[:_USUAL].argmax()), _USUAL + int(by_delay[_USUAL:].argmax())]


def _segments(samples: NDArray[np.float64]) -> NDArray[np.complex128]:
    """The spectra of overlapping segments in the band that counts."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, _SEGMENT)[::_HOP]
    return np.asarray(np.fft.rfft(windows * _TAPER, axis=1)[:, _BINS], np.complex128)
