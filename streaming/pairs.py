"""Queue of (picture, sound) pairs that two writers drain, each its own half, and that only ever loses whole pairs."""

from __future__ import annotations

import mmap
import threading
from collections import Counter, deque
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from streaming.config import FRAME_SAMPLES

_POOLED = 8  # a third of a second that may wait for the encoder
_SOUND_LEAD = 4
"""Pairs by which the sound may be ahead of the picture.

ffmpeg would buffer seconds of sound. They couldn't be dropped any more, and they would be lost with a killed ffmpeg.
"""
_STUCK = 25
"""An encoder that takes nothing while so many pairs come is stuck, and not merely slow."""
_LONGEST_FREEZE = 25
"""Dropped pairs in a row for which a run repeats its last picture; more of them end the run."""
_SILENCE = bytes(2 * FRAME_SAMPLES)
_NO_PICTURE: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)


class Lane(IntEnum):
    """The half of a pair that a writer takes."""

    VIDEO = 0
    AUDIO = 1


@dataclass(frozen=True)
class Pair:
    """Frame `tick` of the stream: uint8 [H, W, 3] and s16le [1920]; `pooled` pictures go back to the pool.

    `speech` is the id of the speech that the frame belongs to, None for idle.
    """

    tick: int
    picture: NDArray[np.uint8]
    sound: bytes
    pooled: bool
    speech: str | None = None


@dataclass(frozen=True)
class _Dropped:
    """The place of a pair that was dropped: raw pipes take time from counting, so something must be written for it."""

    tick: int


class FramePool:
    """Reused picture buffers, all made at the start; the latest used is used first, since it is in the cache."""

    def __init__(self, height: int, width: int) -> None:
        self._shape = (height, width, 3)
        self._free = deque(self._picture() for _ in range(_POOLED))
        for picture in self._free:
            picture.fill(0)  # touches every page now: page faults would come when time is short

    def take(self) -> NDArray[np.uint8]:
        """A buffer uint8 [H, W, 3] with undefined content; a new one while all others wait for the encoder."""
        try:
            return self._free.pop()
        except IndexError:
            return self._picture()

    def give_back(self, buffer: NDArray[np.uint8]) -> None:
        """Makes a buffer free again; the extra buffers of a backlog are released."""
        if len(self._free) < _POOLED:
            self._free.append(buffer)

    def _picture(self) -> NDArray[np.uint8]:
        # Not from malloc: it would keep the hundreds of megabytes of a backlog for ever.
        memory = mmap.mmap(-1, int(np.prod(self._shape)), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return np.frombuffer(memory, np.uint8).reshape(self._shape)


class PairQueue:
    """Bounded queue between the frame clock and one run of the encoder after another.

    A run is a lease: `begin_run` sets both lanes to the same pair, so that picture and sound start together
    whatever the run before had taken of either. When the queue is full, single pairs are dropped, those of idle
    first. In the place of a dropped pair the last picture is repeated, with silence: that costs the encoder little,
    and timestamps stay exact. A run ends, for both lanes alike, before a long row of dropped pairs, before each
    multiple of `timeline` ticks, where time begins anew, and where `finish_run` says so; the next one begins at its
    true time.
    """

    def __init__(self, capacity: int, pool: FramePool, timeline: int) -> None:
        self.sent = 0
        self.dropped = 0
        self.dropped_speech = 0
        self._dropped_of: Counter[str] = Counter()
        self._capacity = capacity
        self._pool = pool
        self._timeline = timeline
        self._pairs: deque[Pair | _Dropped] = deque()
        self._held = 0  # pairs in it that were not dropped
        self._first = 0  # serial number of the leftmost pair
        self._taken = [0, 0]  # serial number that each lane takes next
        self._done = [0, 0]  # serial number up to which each lane has written everything
        self._next_tick = [0, 0]  # tick that continues the run, for each lane
        self._last_tick = 0  # tick before which the run ends
        self._untaken_puts = 0  # since a picture was taken
        self._shown: Pair | None = None  # what the picture's lane has taken last
        self._run = 0
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """Pairs of which the picture was not taken yet."""
        with self._changed:
            return sum(isinstance(pair, Pair) for pair in self._after(self._taken[Lane.VIDEO]))

    @property
    def taken(self) -> int:
        """Pairs whose picture was taken or passed over, since the start."""
        return self._taken[Lane.VIDEO]

    def has_passed(self, tick: int) -> bool:
        """Whether no pair up to this tick waits any more: each one went to the encoder or was dropped."""
        with self._changed:
            waiting = (pair for pair in self._after(self._taken[Lane.VIDEO]) if isinstance(pair, Pair))
            first = next(waiting, None)
            return first is None or first.tick > tick

    def dropped_of(self, speech: str) -> int:
        """Pairs of a speech that were dropped; forgets the number."""
        with self._changed:
            return self._dropped_of.pop(speech, 0)

    def put(self, pair: Pair) -> None:
        """Queues a pair; in a full queue one that no lane has taken yet is dropped for it."""
        with self._changed:
            if self._closed:
                self._count(pair)
                self._recycle(pair)
                return
            if self._held >= self._capacity:
                self._drop_one()
            self._pairs.append(pair)
            self._untaken_puts += 1
            self._held += 1
            self._changed.notify_all()

    def begin_run(self, timeout_s: float) -> tuple[int, int] | None:
        """Starts a new run at the first whole pair: its number and that pair's tick; None when none came in time."""
        with self._changed:
            self._run += 1
            self._shown = None
            for pair in islice(self._after(min(self._taken)), max(self._taken) - min(self._taken)):
                if isinstance(pair, Pair):
                    self._count(pair)  # one half of it went to an encoder that is gone
            self._taken = [max(self._taken)] * 2
            self._done = list(self._taken)
            self._shed()
            while self._pairs and isinstance(self._pairs[0], _Dropped):
                self._pairs.popleft()
                self._first += 1
                self._taken = [self._first] * 2
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._pairs or self._closed, timeout_s) or not self._pairs:
                return None
            first = self._pairs[0].tick
            self._next_tick = [first] * 2
            self._last_tick = (first // self._timeline + 1) * self._timeline
            return self._run, first

    def take(self, lane: Lane, run: int) -> Pair | None:
        """The next pair for one lane, which has written the one before; None ends the run.

        The pair's picture stays valid until this lane takes another one.
        """
        with self._changed:
            if run == self._run and lane is Lane.AUDIO:
                self._done[lane] = self._taken[lane]
                self._shed()
            self._changed.wait_for(lambda: self._is_over(lane, run) or self._may_take(lane))
            pair = None if self._is_over(lane, run) else self._pairs[self._taken[lane] - self._first]
            if pair is None or pair.tick != self._next_tick[lane]:
                return None
            if lane is Lane.VIDEO:
                self._untaken_puts = 0
            if lane is Lane.VIDEO and isinstance(pair, Pair):
                self._shown = pair
                self.sent += 1
                self._done[lane] = self._taken[lane]
                self._shed()
            self._next_tick[lane] += 1
            self._taken[lane] += 1
            self._changed.notify_all()
            return pair if isinstance(pair, Pair) else self._in_place_of(pair, lane)

    def finish_run(self, run: int) -> None:
        """Ends a run in order: both lanes still get what one of them has, and the next run begins after it."""
        with self._changed:
            if run == self._run:
                self._last_tick = min(self._last_tick, max(self._next_tick))
                self._changed.notify_all()

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

    def _is_over(self, lane: Lane, run: int) -> bool:
        drained = self._closed and self._taken[lane] >= self._end
        return run != self._run or drained or self._next_tick[lane] >= self._last_tick

    def _may_take(self, lane: Lane) -> bool:
        leads = lane is Lane.AUDIO and self._taken[Lane.AUDIO] - self._taken[Lane.VIDEO] >= _SOUND_LEAD
        return self._taken[lane] < self._end and not leads

    def _after(self, serial: int) -> islice[Pair | _Dropped]:
        return islice(self._pairs, serial - self._first, None)

    def _in_place_of(self, dropped: _Dropped, lane: Lane) -> Pair:
        if lane is Lane.AUDIO:
            return Pair(dropped.tick, _NO_PICTURE, _SILENCE, pooled=False)
        assert self._shown is not None, "a run begins with a whole pair"
        return replace(self._shown, tick=dropped.tick, sound=_SILENCE, pooled=False)

    def _drop_one(self) -> None:
        """Drops a pair that no lane has taken, of idle before speech; none where all are taken.

        For a slow encoder, one whose neighbours were kept: a repeated picture is hardly seen, a row of them is. For
        one that is stuck, the oldest: what comes after the hold-up shall be whole.
        """
        untaken = max(self._taken) - self._first
        whole = [i for i in range(untaken, len(self._pairs)) if isinstance(self._pairs[i], Pair)]
        if not whole:
            return
        stuck = self._untaken_puts > _STUCK
        index = min(whole, key=lambda i: (self._is_speech(i), not stuck and self._is_beside_dropped(i), i))
        pair = self._pairs[index]
        assert isinstance(pair, Pair)
        self._pairs[index] = _Dropped(pair.tick)
        self._held -= 1
        self._count(pair)
        self._recycle(pair)
        self._cut_long_freeze(untaken)

    def _is_speech(self, index: int) -> bool:
        pair = self._pairs[index]
        return isinstance(pair, Pair) and pair.speech is not None

    def _is_beside_dropped(self, index: int) -> bool:
        beside = (i for i in (index - 1, index + 1) if 0 <= i < len(self._pairs))
        return any(isinstance(self._pairs[i], _Dropped) for i in beside)

    def _cut_long_freeze(self, at: int) -> None:
        length = 0
        while at + length < len(self._pairs) and isinstance(self._pairs[at + length], _Dropped):
            length += 1
        if length > _LONGEST_FREEZE:
            kept = list(self._pairs)
            self._pairs = deque(kept[:at] + kept[at + length :])

    def _shed(self) -> None:
        while self._first < min(self._done):
            pair = self._pairs.popleft()
            if isinstance(pair, Pair):
                self._held -= 1
                self._recycle(pair)
            self._first += 1

    def _count(self, pair: Pair) -> None:
        self.dropped += 1
        if pair.speech is not None:
            self.dropped_speech += 1
            self._dropped_of[pair.speech] += 1

    def _recycle(self, pair: Pair) -> None:
        if pair.pooled:
            self._pool.give_back(pair.picture)
