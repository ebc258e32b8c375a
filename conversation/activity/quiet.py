"""Since when a voice can't be heard any more: a network says so late, since it has a memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from conversation.activity.envelope import STEP, envelope
from conversation.activity.silero import RATE_HZ

# Below the loudest step of a voice: no sound of speech is as quiet, and most rooms are louder, where nothing changes.
_QUIET = 10 ** (-42 / 20)


class QuietTail:
    """Measures the silence at the end of one voice after another."""

    def __init__(self) -> None:
        self._loudest = 0.0
        self._steps = 0

    @property
    def lasts_s(self) -> float:
        """How long the latest sound has been quiet by now, beside the loudest since the voice began."""
        return self._steps * STEP / RATE_HZ

    def begin(self) -> None:
        """Another voice begins with the next frame."""
        self._loudest, self._steps = 0.0, 0

    def push(self, frame: NDArray[np.int16]) -> None:
        """The next 512 samples, mono int16 at 16 kHz."""
        levels = envelope(frame)
        self._loudest = max(self._loudest, float(levels.max()))
        audible = np.flatnonzero(levels > _QUIET * self._loudest)
        self._steps = len(levels) - 1 - int(audible[-1]) if len(audible) else self._steps + len(levels)
