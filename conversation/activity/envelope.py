"""How loud a sound is over time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEP = 128
"""Samples of a step, 8 ms at 16 kHz."""


def envelope(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    """The root mean square of each step; the length must be a multiple of `STEP`."""
    steps = samples.astype(np.float64).reshape(-1, STEP)
    return np.asarray(np.sqrt((steps**2).mean(1)))
