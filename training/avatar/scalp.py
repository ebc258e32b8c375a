"""The hairline around the head, and the weight with which each place follows the head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

# Azimuth from the front of the face in degrees, and the height at which the hair begins there.
_AZIMUTH = (0, 14, 28, 40, 52, 62, 72, 84, 100, 120, 150, 180)
_HEIGHT = (0.93, 0.93, 0.89, 0.80, 0.66, 0.52, 0.36, 0.22, 0.05, -0.20, -0.42, -0.50)


def scalp_height(positions: FloatArray) -> FloatArray:
    """Height [n] of positions [n, 3] above the hairline, in decimetres; hair grows where it is positive."""
    azimuth = np.degrees(np.arctan2(np.abs(positions[:, 0]), positions[:, 2] + 0.05))
    line = np.interp(azimuth, _AZIMUTH, _HEIGHT)
    return (positions[:, 1] - line).astype(np.float32)


def head_follow_weight(positions: FloatArray) -> FloatArray:
    """Weight [n] with which positions [n, 3] follow a turn of the head: 0 at the shoulders, 1 from the chin up."""
    s = np.clip((positions[:, 1] + 0.45 * (positions[:, 2] - 0.2) + 1.15) / 0.80, 0, 1)
    return (s * s * (3 - 2 * s)).astype(np.float32)
