"""The last frames of a log that grows, in memory: whoever follows it needs no thread that asks the disk."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Frames for which there is more room than is kept, so that what is kept is copied once in so many only.
_ROOM = 64


class LogTail:
    """At least the last `most` frames that were added, as the log's file holds them."""

    def __init__(self, most: int, first: int) -> None:
        """`first` is the number of the frame that is added next."""
        self.first = first
        """The number of the first frame that is held, or of the one that is added next."""
        self._most = most
        self._used = 0
        self._records: NDArray[Any] | None = None

    def add(self, records: NDArray[Any]) -> None:
        """The next frames."""
        if self._records is None or self._used + len(records) > len(self._records):
            self._make_room(records)
        assert self._records is not None
        self._records[self._used : self._used + len(records)] = records
        self._used += len(records)

    def behind(self, before: NDArray[Any]) -> LogTail:
        """The same behind the frames that came just before the first one of these."""
        tail = LogTail(self._most, self.first - len(before))
        tail.add(before)
        if self._records is not None:
            tail.add(self._records[: self._used])
        return tail

    def read(self, first: int, count: int) -> NDArray[Any] | None:
        """Frames `first` … `first` + `count` - 1, to be copied; None where not all of them are held."""
        begin = first - self.first
        if self._records is None or begin < 0 or begin + count > self._used:
            return None
        return self._records[begin : begin + count]

    def _make_room(self, records: NDArray[Any]) -> None:
        kept = min(self._used, self._most)
        room = np.empty(kept + len(records) + _ROOM, records.dtype)
        if self._records is not None:
            room[:kept] = self._records[self._used - kept : self._used]
        self.first += self._used - kept
        self._records, self._used = room, kept
