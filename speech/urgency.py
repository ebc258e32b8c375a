"""Which chunk goes to Triton next: of all channels' the one that is shown soonest."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from itertools import count

from inference.capacity import Capacity


class UrgentFirst:
    """Lets at most `slots` chunks be out at once; who waits goes by the time at which its first frame is due.

    Triton's own queue is first come, first served: what is sent there can't be overtaken, so little is sent.
    """

    def __init__(self, slots: int) -> None:
        self.capacity = Capacity(instances=1, batch=1)
        self._slots = self._free = _at_least_one(slots)
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self._shortest_s: dict[Hashable, float] = {}

    def resize(self, slots: int, capacity: Capacity) -> None:
        """From now on so many may be out, and Triton works on so many; what is out above that comes back first."""
        self.capacity = capacity
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

    def before(self, due: float) -> int:
        """Chunks that a new one would come after: those out, and those that wait and are due before it."""
        waiting = sum(not granted.done() and other < due for other, _, granted in self._waiting)
        return self._slots - self._free + waiting

    def took(self, work: Hashable, seconds: float) -> None:
        """Notes how long a chunk was out; `work` names what it costs: only chunks that cost the same are compared."""
        self._shortest_s[work] = min(seconds, self._shortest_s.get(work, seconds))

    def shortest_s(self, work: Hashable) -> float | None:
        """How long such a chunk is out when nothing comes before it; None as long as there was none."""
        return self._shortest_s.get(work)

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


class SpeechTurns:
    """The turns of one speech, whose chunks cost the same: `work` names what."""

    def __init__(self, urgent: UrgentFirst, work: Hashable, clock: Callable[[], float]) -> None:
        self._urgent = urgent
        self._work = work
        self._clock = clock
        self._out = 0

    @asynccontextmanager
    async def turn(self, due: float) -> AsyncIterator[None]:
        """As `UrgentFirst.turn`."""
        async with self._urgent.turn(due):
            self._out += 1
            began = self._clock()
            try:
                yield
                self._urgent.took(self._work, self._clock() - began)
            finally:
                self._out -= 1

    def others(self, due: float) -> int:
        """Chunks of other speeches that one of this speech, due then, would come after."""
        return self._urgent.before(due) - self._out

    def next_chunk_s(self, due: float, together: int) -> float | None:
        """Seconds until the next chunk, due then, is made, by what others have before it; None while nobody knows.

        `together` of the speech's own are asked for at once, and may share the batch. A batch is taken to last as long
        as its chunks one after another, which is the most.
        """
        one = self._urgent.shortest_s(self._work)
        if one is None:
            return None
        capacity = self._urgent.capacity
        return one * (min(capacity.batch, together) + self.others(due) / capacity.instances)


def _at_least_one(slots: int) -> int:
    if slots < 1:
        raise ValueError(f"slots must be at least 1, got {slots}")
    return slots
