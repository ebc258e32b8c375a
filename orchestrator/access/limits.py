"""How much a caller may ask for: requests a minute, and how many of a kind at once."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_MOST_CALLERS = 10_000


class RateLimit:
    """A bucket for each caller that holds a minute's worth and fills evenly; 0 a minute sets no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, and the time of that count

    def take(self, caller: str) -> int:
        """0 when the caller may go on, else the whole seconds to wait."""
        if not self._per_minute:
            return 0
        now, per_s = self._clock(), self._per_minute / 60
        left, since = self._buckets.pop(caller, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - since) * per_s)
        wait_s = 0 if left >= 1 else math.ceil((1 - left) / per_s)
        self._buckets[caller] = (left if wait_s else left - 1, now)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)  # the caller seen longest ago has the fullest bucket
        return wait_s


class Places:
    """So many at once, of which one caller may have half."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.share = max(1, count // 2)
        self._by_caller: dict[str, int] = {}
        self._left = asyncio.Event()

    @property
    def taken(self) -> int:
        """Places of all callers together."""
        return sum(self._by_caller.values())

    def refusal(self, caller: str, what: str) -> str | None:
        """Why this caller gets no place now; None when there is one for it."""
        if self.taken >= self.count:
            return f"{self.count} {what} at once are the limit"
        if self._by_caller.get(caller, 0) >= self.share:
            return f"{self.share} {what} at once are the limit of one caller"
        return None

    @contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """A place for as long as the context lasts; whether there is one is asked before."""
        self._by_caller[caller] = self._by_caller.get(caller, 0) + 1
        try:
            yield
        finally:
            self._by_caller[caller] -= 1
            if not self._by_caller[caller]:
                del self._by_caller[caller]
            self._left.set()

    async def empty(self) -> None:
        """Wait until all of them have left."""
        while self._by_caller:
            self._left.clear()
            await self._left.wait()
