"""Whether a clip can loop from its last frame to its first, or must be played forwards and backwards."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from latentsync.avatar import Loop

_THUMBNAIL = (64, 64)
# The difference between last and first frame may be this many times the largest ordinary step of the clip.
_TOLERANCE = 1.5
_ORDINARY_QUANTILE = 0.95
_FEWEST_FRAMES = 4


def thumbnail(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A small grey picture of a frame RGB [H, W, 3], float32 [64, 64], for comparison."""
    small = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), _THUMBNAIL, interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)


def detect_loop(thumbnails: list[NDArray[np.float32]]) -> Loop:
    """`CYCLE` when the last frame leads on to the first as any frame does to the next, else `PINGPONG`."""
    if len(thumbnails) < _FEWEST_FRAMES:
        return Loop.PINGPONG
    steps = [_distance(before, after) for before, after in pairwise(thumbnails)]
    ordinary = float(np.quantile(steps, _ORDINARY_QUANTILE))
    return Loop.CYCLE if _distance(thumbnails[-1], thumbnails[0]) <= _TOLERANCE * ordinary else Loop.PINGPONG


def _distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).mean())
