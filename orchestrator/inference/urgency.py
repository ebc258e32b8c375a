"""Which chunk goes to Triton next: of all channels' the one that is shown soonest."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class UrgentFirst:
    """Lets at most `slots` chunks be out at once; who waits goes by the time at which its first frame is due.

    Triton's own queue is first come, first served: what is sent there can't be overtaken, so little is sent.
    """

    def __init__(self, slots: int) -> None:
        self._slots = self._free = _at_least_one(slots)
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def resize(self, slots: int) -> None:
        """From now on so many may be out; more than that come back first."""
        self._free += _at_least_one(slots) - self._slots
        self._slots = slots
        while self._free > 0 and self._waiting:
            self._free -= 1
            self._give_back()

    @asynccontextmanager
    async def turn(self, due: float) -> AsyncIterator[None]:
        """Wait for a slot and hold it; `due` is any clock's time, the same one for all."""
        await self._take(due)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, due: float) -> None:
        if self._free > 0:
            self._free -= 1
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (due, next(self._order), granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._give_back()  # it was granted and cancelled in the same moment
            raise

    def _give_back(self) -> None:
        while self._waiting and self._free >= 0:
            _, _, granted = heapq.heappop(self._waiting)
            if not granted.done():
                granted.set_result(None)
                return
        self._free += 1


def _at_least_one(slots: int) -> int:
    if slots < 1:
        raise ValueError(f"slots must be at least 1, got {slots}")
    return slots
