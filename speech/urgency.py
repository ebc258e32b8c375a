"""The order in which the chunks of all channels are sent to Triton: the one that is shown first goes first."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count

from inference.capacity import Capacity
from latentsync.contract import CONTRACT


class UrgentFirst:
    """Allows `slots` chunks in flight; those that wait are ordered by the time at which their first frame is due.

    Triton's own queue is first in, first out: nothing overtakes a chunk that is sent, so few are sent.
    """

    def __init__(self, slots: int) -> None:
        self.capacity = Capacity(instances=1, batch=1)
        self.spoken = 0
        """How many speeches are said that somebody speaks now."""
        self._slots = self._free = _at_least_one(slots)
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self._shortest_s: dict[tuple[Hashable, int], float] = {}

    def resize(self, slots: int, capacity: Capacity) -> None:
        """Change the number of slots and Triton's capacity; chunks in flight above the new number finish first."""
        self.capacity = capacity
        self._free += _at_least_one(slots) - self._slots
        self._slots = slots
        while self._free > 0 and self._waiting:
            self._free -= 1
            self._give_back()

    @asynccontextmanager
    async def slot(self, due: float) -> AsyncIterator[None]:
        """Wait for a slot and hold it for the block; `due` is a time of the clock that all callers share."""
        await self._take(due)
        try:
            yield
        finally:
            self._give_back()

    def before(self, due: float) -> int:
        """The number of chunks ahead of a new one: those in flight, and waiting ones that are due before it."""
        waiting = sum(not granted.done() and other < due for other, _, granted in self._waiting)
        return self._slots - self._free + waiting

    def record(self, work: Hashable, frames: int, seconds: float) -> None:
        """Record how long a chunk of so many frames was in flight; of one `work` and length all cost the same."""
        self._shortest_s[work, frames] = min(seconds, self._shortest_s.get((work, frames), seconds))

    def shortest_s(self, work: Hashable, frames: int) -> float | None:
        """The time that such a chunk takes with nothing ahead of it; None before the first of any length.

        Of a length that was never made it is estimated from the next one: no chunk takes longer in proportion.
        """
        known = {length: seconds for (other, length), seconds in self._shortest_s.items() if other == work}
        if not known:
            return None
        nearest = min(known, key=lambda length: abs(length - frames))
        return known[nearest] * max(1.0, frames / nearest)

    def measured_s(self, work: Hashable, frames: int) -> float | None:
        """The same where chunks of that very length were made, else None."""
        return self._shortest_s.get((work, frames))

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
                self._give_back()  # granted and cancelled in the same iteration of the event loop
            raise

    def _give_back(self) -> None:
        while self._waiting and self._free >= 0:
            _, _, granted = heapq.heappop(self._waiting)
            if not granted.done():
                granted.set_result(None)
                return
        self._free += 1


class SpeechSlots:
    """The slots of one speech; `work` identifies the cost of its chunks of one length."""

    def __init__(self, urgent: UrgentFirst, work: Hashable, clock: Callable[[], float]) -> None:
        self._urgent = urgent
        self._work = work
        self._clock = clock
        self._in_flight = 0
        self._is_spoken = False

    @asynccontextmanager
    async def slot(self, due: float, frames: int) -> AsyncIterator[None]:
        """As `UrgentFirst.slot`, for a chunk of `frames` frames."""
        async with self._urgent.slot(due):
            self._in_flight += 1
            began = self._clock()
            try:
                yield
                self._urgent.record(self._work, frames, self._clock() - began)
            finally:
                self._in_flight -= 1

    @property
    def on_gpu(self) -> bool:
        """Whether the chunks are generated on GPUs."""
        return self._urgent.capacity.on_gpu

    def measured_s(self, frames: int) -> float | None:
        """The time that a chunk of so many frames takes with nothing ahead of it; None before the first of them."""
        return self._urgent.measured_s(self._work, frames)

    def others(self, due: float) -> int:
        """The number of other speeches' chunks ahead of one of this speech that is due then."""
        return self._urgent.before(due) - self._in_flight

    def crowded(self, due: float) -> bool:
        """Whether a chunk that is due then would have to share an instance with other speeches' chunks."""
        return self.others(due) >= self._urgent.capacity.instances

    @contextmanager
    def spoken(self) -> Iterator[None]:
        """For the block, this is a speech that somebody speaks now: it is never made further than that."""
        self._urgent.spoken += 1
        self._is_spoken = True
        try:
            yield
        finally:
            self._urgent.spoken -= 1
            self._is_spoken = False

    def beside_s(self, frames: int, features_s: float) -> float:
        """Seconds that each chunk of a speech that is spoken now may have to wait for another such speech's.

        No such speech gets ahead of its speaker, and their chunks don't keep step: at some time that of one comes just
        before that of another, with its features. Where several others are spoken, that all of them do is rare.
        """
        if not self._is_spoken or self._urgent.spoken - 1 < self._urgent.capacity.instances:
            return 0.0
        return features_s + (self._urgent.shortest_s(self._work, frames) or 0.0)

    def next_chunk_s(self, due: float, frames: int, together: int) -> float | None:
        """Seconds until the next chunk, due then, is generated, given the chunks ahead of it; None while unknown.

        `together` chunks of this speech are requested at once and may share a batch. A batch is assumed to take as
        long as its chunks one after another, which is the upper bound.
        """
        one = self._urgent.shortest_s(self._work, frames)
        others = self._urgent.shortest_s(self._work, CONTRACT.chunk_frames)
        if one is None or others is None:
            return None
        capacity = self._urgent.capacity
        return one * min(capacity.batch, together) + others * self.others(due) / capacity.instances


def _at_least_one(slots: int) -> int:
    if slots < 1:
        raise ValueError(f"slots must be at least 1, got {slots}")
    return slots
