"""What the avatar says while the microphone hears: block for block, so that its echo is known for one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from conversation.recognition.recogniser import RATE_HZ
from orchestrator.clock import Clock

_DRIFT = 0.001  # seconds a second by which the two clocks may differ
_STALLED_S = 0.5

Sounding = Callable[[float, int], NDArray[np.int16] | None]


class EchoReference:
    """Microphone samples come in blocks that the network delays; the least delayed of them tell when each was taken.

    Else the reference would jump against the microphone with each late block.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples = 0
        self._began_s: float | None = None

    def of(self, count: int, sounding: Sounding) -> NDArray[np.int16] | None:
        """What sounded while the next `count` samples at 16 kHz were taken, None for silence.

        `sounding` gives so many samples up to a moment of the clock.
        """
        self._samples += count
        lasted_s = self._samples / RATE_HZ
        began_s = self._clock() - lasted_s
        known_s = self._began_s
        if known_s is None or not known_s - _STALLED_S < began_s < known_s + _STALLED_S:
            self._began_s = began_s
        else:
            self._began_s = min(began_s, known_s + _DRIFT * count / RATE_HZ)
        return sounding(self._began_s + lasted_s, count)
