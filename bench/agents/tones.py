"""What is said in the measurements: tones, by which a listener tells one segment from the next to the millisecond."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conversation.synthesis.synthesiser import Voice

TONES_HZ = (600, 1000, 1400, 1800, 2200, 2600)
"""Multiples of 200 Hz apart, so that none is in another one's averages over 5 ms."""
AMPLITUDE = 9_000
_LETTERS = "bdfgkm"
_LETTER_S = 0.1
_RATE_HZ = 24_000


@dataclass(frozen=True)
class Sound:
    """One of the tones, so many seconds long."""

    tone: int
    seconds: float

    @property
    def hz(self) -> int:
        """Its pitch."""
        return TONES_HZ[self.tone]

    def pcm(self, rate_hz: int) -> bytes:
        """PCM of 16 bits, mono."""
        return _wave(self.hz, self.seconds, rate_hz).astype("<i2").tobytes()

    @property
    def text(self) -> str:
        """A sentence that a `ToneSynthesiser` says as this sound, which lasts tenths of a second."""
        return f"{_LETTERS[self.tone] * round(self.seconds / _LETTER_S)}."


class ToneSynthesiser:
    """Stands where a synthesiser stands: it says a tone, by the first letter of a sentence, and 0.1 s for each."""

    rate_hz = _RATE_HZ
    voices = (Voice("tone", "en-US"),)

    async def synthesise(self, text: str, voice: Voice) -> AsyncGenerator[NDArray[np.int16], None]:
        """The sound of the sentence, at once."""
        letters = [char for char in text.lower() if char in _LETTERS]
        if letters:
            yield _wave(TONES_HZ[_LETTERS.index(letters[0])], len(letters) * _LETTER_S, _RATE_HZ)

    async def run(self) -> None:
        """It needs nothing."""
        await asyncio.get_running_loop().create_future()


def _wave(hz: int, seconds: float, rate_hz: int) -> NDArray[np.int16]:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.asarray(np.rint(AMPLITUDE * np.sin(2 * np.pi * hz * times)), np.int16)
