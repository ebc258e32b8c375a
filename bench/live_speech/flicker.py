"""How much the picture of the mouth steps where Whisper's windows meet, in a long speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from latentsync.mask import face_mask


@dataclass(frozen=True)
class Flicker:
    """Medians of the mean step from a frame to the next over the repainted pixels, in grey levels.

    `at_joins` is that into a frame with which a window begins anew, of which there are `joins`; `elsewhere` of all
    other frames. Both are None without joins. `window` is None for the speech as an upload.
    """

    speech: str
    window: str | None
    joins: int
    at_joins: float | None
    elsewhere: float | None

    @property
    def ratio(self) -> float | None:
        """About 1 where nobody sees the joins."""
        return None if self.at_joins is None or not self.elsewhere else self.at_joins / self.elsewhere


def flicker(speech: str, window: str | None, faces: NDArray[np.uint8], joins: Sequence[int]) -> Flicker:
    """Measure faces uint8 [n, R, R, 3], whose windows begin anew at the frames `joins`."""
    if not joins:
        return Flicker(speech, window, 0, None, None)
    repainted = face_mask(faces.shape[1]) < 0.5
    pairs = pairwise(faces[:, repainted].astype(np.int16))
    steps = np.array([np.abs(after - before).mean() for before, after in pairs])
    joined = np.zeros(len(steps), bool)
    joined[np.array(joins) - 1] = True  # the step into a frame is that from the one before it
    return Flicker(speech, window, len(joins), float(np.median(steps[joined])), float(np.median(steps[~joined])))
