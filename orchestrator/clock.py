"""The time that tasks are stamped with."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


def anchored_clock() -> Clock:
    """A clock in Unix seconds that never jumps: the wall's time at the call plus what the monotonic clock adds.

    Differences stay right when the wall clock is set while the server runs, and stamps are comparable across restarts.
    """
    anchor = time.time() - time.monotonic()
    return lambda: anchor + time.monotonic()
