"""Pauses of a speech: where a window may begin anew unnoticed, and what may be left out to catch up."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from speech.timeline import SpeechTimeline

# Root mean square of a frame, of 32768: -50 dBFS. A room with a headset stays below it, and quiet speech doesn't.
_QUIET_RMS = 100.0
_REMEMBERED = 20 * CONTRACT.frames_per_second
_LEAST = 5 * CONTRACT.frames_per_second
# A room's noise: the softest tenth of the stretches, if they are alike within 3 dB, as soft speech isn't. Frames of a
# pause are at most 2 dB louder, at least 15 dB softer than what is loud, and below -35 dBFS.
_SOFTEST, _TENTH, _LOUD = 2, 10, 98  # percentiles
_ALIKE, _ABOVE, _BELOW_LOUD, _LOUDEST_RMS = 10 ** (3 / 20), 10 ** (2 / 20), 10 ** (-15 / 20), 580.0
MARGIN_FRAMES = 2
"""On either side of a quiet frame: what is said begins and ends more softly than it goes on."""


def loudness(heard: NDArray[np.int16]) -> NDArray[np.float32]:
    """Root mean square of each frame of `heard` int16 [k, 640], of full scale 32768."""
    power: NDArray[np.float32] = np.mean(np.square(heard, dtype=np.float32), axis=1)
    return np.sqrt(power)


class NoiseFloor:
    """How loud a frame is at most in which nothing is said, by the latest 20 s: a noisy room has pauses, too."""

    def __init__(self, timeline: SpeechTimeline) -> None:
        self._timeline = timeline
        self._seen = 0
        self._frames: deque[float] = deque(maxlen=_REMEMBERED)

    async def quiet_rms(self) -> float:
        """Of 32768; that of a silent room where the noise isn't steady, or as loud as what might be speech."""
        self._seen = max(self._seen, self._timeline.available - _REMEMBERED)
        # In pieces, so that the timeline keeps what a window of Whisper's was read for.
        while (count := min(self._timeline.available - self._seen, CONTRACT.chunk_frames - 1)) > 0:
            found = loudness((await self._timeline.read(self._seen, count)).heard)
            self._frames.extend(found[found > 0].tolist())  # digital silence is no room's
            self._seen += count
        if len(self._frames) < _LEAST:
            return _QUIET_RMS
        frames = np.array(self._frames)
        stretches = np.lib.stride_tricks.sliding_window_view(frames, 2 * MARGIN_FRAMES + 1).max(1)
        softest, tenth = np.percentile(stretches, (_SOFTEST, _TENTH))
        if tenth > _ALIKE * softest:
            return _QUIET_RMS
        most = min(_LOUDEST_RMS, _BELOW_LOUD * float(np.percentile(frames, _LOUD)))
        return max(_QUIET_RMS, min(_ABOVE * float(tenth), most))


async def is_quiet(timeline: SpeechTimeline, frame: int, quiet_rms: float = _QUIET_RMS) -> bool:
    """Whether nothing is said at a frame and at the two on either side of it, as far as they are available."""
    first = max(0, frame - MARGIN_FRAMES)
    count = min(timeline.available, frame + MARGIN_FRAMES + 1) - first
    return count > 0 and bool((loudness((await timeline.read(first, count)).heard) < quiet_rms).all())
