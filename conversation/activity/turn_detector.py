"""What a turn detector is: the sound of a turn up to a pause in, whether the turn sounds finished out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class TurnDetector(Protocol):
    """Tells at a pause whether someone has finished, or only takes a breath. Without one, silence alone tells."""

    async def is_finished(self, sound: NDArray[np.int16]) -> bool:
        """Of the turn so far, mono at 16 kHz; whatever it raises is logged, and silence alone decides this pause."""
        ...
