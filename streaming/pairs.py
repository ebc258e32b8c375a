"""Queue of (picture, sound) pairs that two writers drain, each its own half, and that only ever loses whole pairs."""

from __future__ import annotations

import mmap
import threading
from collections import deque
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

_POOLED = 8  # a third of a second that may wait for the encoder


class Lane(IntEnum):
    """The half of a pair that a writer takes."""

    VIDEO = 0
    AUDIO = 1


@dataclass(frozen=True)
class Pair:
    """Frame `tick` of the stream: uint8 [H, W, 3] and s16le [640]; `pooled` pictures go back to the pool."""

    tick: int
    picture: NDArray[np.uint8]
    sound: bytes
    pooled: bool


class FramePool:
    """Reused picture buffers, all made at the start; the latest used is used first, since it is in the cache."""

    def __init__(self, height: int, width: int) -> None:
        self._shape = (height, width, 3)
        self._free = deque(self._picture() for _ in range(_POOLED))
        for picture in self._free:
            picture.fill(0)  # memory that nobody has touched is not there yet, and would come when time is short

    def take(self) -> NDArray[np.uint8]:
        """A buffer uint8 [H, W, 3] with anything in it; a new one while all others wait for the encoder."""
        try:
            return self._free.pop()
        except IndexError:
            return self._picture()

    def give_back(self, buffer: NDArray[np.uint8]) -> None:
        """Makes a buffer free again; one that an encoder's outage has made necessary goes."""
        if len(self._free) < _POOLED:
            self._free.append(buffer)

    def _picture(self) -> NDArray[np.uint8]:
        # Not from malloc: it keeps what an outage of the encoder has piled up, hundreds of megabytes, for ever.
        memory = mmap.mmap(-1, int(np.prod(self._shape)), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return np.frombuffer(memory, np.uint8).reshape(self._shape)


class PairQueue:
    """Bounded queue between the frame clock and one run of the encoder after another.

    A run is a lease: `begin_run` sets both lanes to the same pair, so that picture and sound start together whatever
    the run before had taken of either. Raw pipes take time from counting, so a run has no gap: where pairs were dropped
    it ends, for both lanes alike, and the next one begins at the time that it really is. It also ends before each
    multiple of `timeline` ticks, where time begins anew.
    """

    def __init__(self, capacity: int, pool: FramePool, timeline: int) -> None:
        self.dropped = 0
        self._capacity = capacity
        self._pool = pool
        self._timeline = timeline
        self._pairs: deque[Pair] = deque()
        self._first = 0  # serial number of the leftmost pair
        self._taken = [0, 0]  # serial number that each lane takes next
        self._done = [0, 0]  # serial number up to which each lane has written everything
        self._next_tick = [0, 0]  # tick that continues the run, for each lane
        self._last_tick = 0  # tick before which the run ends
        self._run = 0
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """Pairs of which the picture was not taken yet."""
        with self._changed:
            return self._first + len(self._pairs) - self._taken[Lane.VIDEO]

    @property
    def taken(self) -> int:
        """Pairs whose picture was taken or passed over, since the start."""
        return self._taken[Lane.VIDEO]

    def put(self, pair: Pair) -> None:
        """Queues a pair; in a full queue it takes the place of all that no lane has taken yet, which are dropped."""
        with self._changed:
            if self._closed:
                self._drop(pair)
                return
            if len(self._pairs) >= self._capacity:
                while self._pairs and self._end > max(self._taken):
                    self._drop(self._pairs.pop())
            self._pairs.append(pair)
            self._changed.notify_all()

    def begin_run(self, timeout_s: float) -> tuple[int, int] | None:
        """Starts a new run at the first whole pair: its number and that pair's tick; None when none came in time."""
        with self._changed:
            self._run += 1
            self._taken = [max(self._taken)] * 2
            self._done = list(self._taken)
            self._shed()
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._pairs or self._closed, timeout_s) or not self._pairs:
                return None
            first = self._pairs[0].tick
            self._next_tick = [first] * 2
            self._last_tick = (first // self._timeline + 1) * self._timeline
            return self._run, first

    def take(self, lane: Lane, run: int) -> Pair | None:
        """The next pair for one lane, which has done with the one before; None ends the run."""
        with self._changed:
            if run == self._run:
                self._done[lane] = self._taken[lane]
                self._shed()
            self._changed.wait_for(lambda: run != self._run or self._closed or self._taken[lane] < self._end)
            if run != self._run or self._taken[lane] >= self._end:
                return None
            pair = self._pairs[self._taken[lane] - self._first]
            if pair.tick != self._next_tick[lane] or pair.tick >= self._last_tick:
                return None
            self._next_tick[lane] += 1
            self._taken[lane] += 1
            return pair

    def end_run(self, run: int) -> None:
        """Lets the lanes of a run whose encoder is gone return; what they did not take stays for the next run."""
        with self._changed:
            if run == self._run:
                self._run += 1
                self._changed.notify_all()

    def close(self) -> None:
        """Takes no more pairs; the lanes drain what is queued and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def _end(self) -> int:
        return self._first + len(self._pairs)

    def _shed(self) -> None:
        while self._first < min(self._done):
            self._recycle(self._pairs.popleft())
            self._first += 1

    def _drop(self, pair: Pair) -> None:
        self.dropped += 1
        self._recycle(pair)

    def _recycle(self, pair: Pair) -> None:
        if pair.pooled:
            self._pool.give_back(pair.picture)
