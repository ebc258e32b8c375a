"""Which changes of a connection deserve a line in a log."""

from __future__ import annotations

import time
from collections.abc import Callable

_STEADY_S = 10.0


class Outage:
    """Reports each outage once and its end once, so that a connection that flaps for days doesn't fill a disk.

    An outage ends when the connection has been up for `steady_s`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, steady_s: float = _STEADY_S) -> None:
        self._clock = clock
        self._steady_s = steady_s
        self._down = False
        self._up_since: float | None = None
        self._reported_up = False

    def is_news_that_down(self) -> bool:
        """Notes that the connection is down; True at the beginning of an outage."""
        begins = not self._down
        self._down, self._up_since, self._reported_up = True, None, False
        return begins

    def is_news_that_up(self) -> bool:
        """Notes that the connection is up; True for the first connection, and once at the end of an outage."""
        now = self._clock()
        self._up_since = now if self._up_since is None else self._up_since
        if self._reported_up or (self._down and now - self._up_since < self._steady_s):
            return False
        self._down, self._reported_up = False, True
        return True
