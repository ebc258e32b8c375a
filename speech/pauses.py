"""Pauses of a speech: where a window may begin anew unnoticed, and what may be left out to catch up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speech.timeline import SpeechTimeline

# Root mean square of a frame, of 32768: -50 dBFS. A room with a headset stays below it, and quiet speech doesn't.
_QUIET_RMS = 100.0
MARGIN_FRAMES = 2
"""On either side of a quiet frame: what is said begins and ends more softly than it goes on."""


def loudness(heard: NDArray[np.int16]) -> NDArray[np.float32]:
    """Root mean square of each frame of `heard` int16 [k, 640], of full scale 32768."""
    power: NDArray[np.float32] = np.mean(np.square(heard, dtype=np.float32), axis=1)
    return np.sqrt(power)


async def is_quiet(timeline: SpeechTimeline, frame: int) -> bool:
    """Whether nothing is said at a frame and at the two on either side of it, as far as they are available."""
    first = max(0, frame - MARGIN_FRAMES)
    count = min(timeline.available, frame + MARGIN_FRAMES + 1) - first
    return count > 0 and bool((loudness((await timeline.read(first, count)).heard) < _QUIET_RMS).all())
