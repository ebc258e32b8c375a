"""The time that tasks are stamped with."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


def anchored_clock() -> Clock:
    """A clock in Unix seconds that never jumps: the wall's time at the call plus what the monotonic clock adds.

    Differences are right though the wall clock be set while the server runs, and stamps survive a restart.
    """
    anchor = time.time() - time.monotonic()
    return lambda: anchor + time.monotonic()
