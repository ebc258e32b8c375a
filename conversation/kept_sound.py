"""The latest sound of the microphone, and of it what belongs to the utterance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from conversation.recognition.recogniser import LONGEST_S, RATE_HZ

_BEFORE = round(0.3 * RATE_HZ)  # of a voice: its beginning is softer than what the detector hears
_MOST = round(LONGEST_S * RATE_HZ)


class KeptSound:
    """Samples are counted from the beginning of the dialogue; no more than 30 s are kept."""

    def __init__(self) -> None:
        self._samples = bytearray()
        self._end = 0
        self._voice = 0  # where the latest voice began
        self._start = 0  # of the utterance
        self._used = 0  # what was recognised before it, which belongs to no other utterance

    def append(self, samples: NDArray[np.int16]) -> None:
        """The next ones, mono at 16 kHz."""
        self._samples += samples.tobytes()
        self._end += len(samples)
        del self._samples[: max(0, len(self._samples) - 2 * _MOST)]

    def voice_began(self, lasted_s: float) -> None:
        """A voice has lasted for so long by now."""
        self._voice = self._end - round(lasted_s * RATE_HZ)

    def keep(self) -> None:
        """An utterance began with the latest voice, or where the one before it was cut off."""
        self._start = max(self._used, self._voice - _BEFORE)

    def kept(self) -> NDArray[np.int16]:
        """The utterance so far."""
        self._used = self._end
        first = self._end - len(self._samples) // 2
        return np.frombuffer(bytes(self._samples), np.int16)[max(0, self._start - first) :].copy()
