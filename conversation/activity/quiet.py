"""Since when a voice can't be heard any more: a network says so late, since it has a memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from conversation.activity.silero import FRAME, RATE_HZ

_BLOCK = 128  # samples, 8 ms
# Below the loudest block of a voice: no sound of speech is as quiet, and most rooms are louder, where nothing changes.
_QUIET = 10 ** (-42 / 20)


class QuietTail:
    """Measures the silence at the end of one voice after another."""

    def __init__(self) -> None:
        self._loudest = 0.0
        self._blocks = 0

    @property
    def lasts_s(self) -> float:
        """How long the latest sound has been quiet by now, beside the loudest since the voice began."""
        return self._blocks * _BLOCK / RATE_HZ

    def begin(self) -> None:
        """Another voice begins with the next frame."""
        self._loudest, self._blocks = 0.0, 0

    def push(self, frame: NDArray[np.int16]) -> None:
        """The next 512 samples, mono int16 at 16 kHz."""
        levels = np.sqrt(np.mean(frame.reshape(FRAME // _BLOCK, _BLOCK).astype(np.float64) ** 2, axis=1))
        self._loudest = max(self._loudest, float(levels.max()))
        audible = np.flatnonzero(levels > _QUIET * self._loudest)
        self._blocks = len(levels) - 1 - int(audible[-1]) if len(audible) else self._blocks + len(levels)
