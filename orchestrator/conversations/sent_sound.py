"""What a channel's encoder gave out lately, by the server's clock: the avatar's echo is a copy of it."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from conversation.recognition.recogniser import RATE_HZ

_KEPT = 4 * RATE_HZ
_BUFFER = RATE_HZ * 40 // 1000  # samples that a player holds before it begins
_MOST_HELD = RATE_HZ // 2
_SEEN = 100  # pieces of 20 ms by which it is known how much a player must hold
_QUIET = 20  # of 32768, about -64 dBFS


class SentSound:
    """The latest seconds of sound, mono int16 at 16 kHz, each piece at the time at which a player plays it.

    Pieces that come late leave a gap, and those that come at once behind it follow one another. A player that has held
    more than it needed for 2 s catches up in pauses, and one that holds more than 0.5 s goes on with the newest.
    """

    def __init__(self) -> None:
        self._sound = np.zeros(2 * _KEPT, np.int16)
        self._filled = _KEPT
        self._end: int | None = None  # of what is filled, on the clock, in samples
        self._held: deque[int] = deque(maxlen=_SEEN)  # by the player, when each piece came

    def came(self, piece: NDArray[np.int16], at_s: float) -> None:
        """The next piece came out of the encoder."""
        at = round(at_s * RATE_HZ)
        if self._end is None:
            self._end = at + _BUFFER
        if self._end < at:
            self._append(np.zeros(min(at - self._end, _KEPT), np.int16))
            self._end = at
        self._held.append(self._end - at)
        held_in_vain = min(self._held) if len(self._held) == _SEEN else 0
        if held_in_vain > 2 * _BUFFER and np.abs(piece.astype(np.int32)).max(initial=0) < _QUIET:
            self._held.extend([held - len(piece) for held in self._held])
            return
        self._append(piece)
        self._end += len(piece)
        if (waiting := self._end - at) > _MOST_HELD:
            newest = self._sound[self._filled - _MOST_HELD : self._filled].copy()
            self._filled -= waiting
            self._append(newest)
            self._end = at + _MOST_HELD

    def until(self, until_s: float, count: int) -> NDArray[np.int16] | None:
        """The `count` samples that sounded up to this time; None where there was nothing but silence."""
        if self._end is None:
            return None
        first = self._filled + round(until_s * RATE_HZ) - count - self._end
        begin, end = max(self._filled - _KEPT, first), min(self._filled, first + count)
        if begin >= end or not self._sound[begin:end].any():
            return None
        samples = np.zeros(count, np.int16)
        samples[begin - first : end - first] = self._sound[begin:end]
        return samples

    def _append(self, samples: NDArray[np.int16]) -> None:
        if self._filled + len(samples) > len(self._sound):
            self._sound[:_KEPT] = self._sound[self._filled - _KEPT : self._filled]
            self._filled = _KEPT
        self._sound[self._filled : self._filled + len(samples)] = samples
        self._filled += len(samples)
