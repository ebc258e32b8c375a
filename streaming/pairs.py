"""Queue of (picture, sound) pairs that two writers drain, each its own half, and that only ever loses whole pairs."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from streaming.audio import SILENCE
from streaming.frame_pool import FramePool
from streaming.pair import Dropped, IdleInstead, Lane, Pair, TakenBack

_SOUND_LEAD = 2
"""Pairs by which the sound may be ahead of the picture.

ffmpeg would buffer seconds of sound. They couldn't be dropped any more, they would be lost with a killed ffmpeg, and
they would be heard after an interrupt.
"""
_STUCK = 25
"""An encoder that takes nothing while so many pairs come is stuck, and not merely slow."""
_LONGEST_FREEZE = 25
"""Dropped pairs in a row for which a run repeats its last picture; more of them end the run."""
_TAKEN_BACK = 64
"""Speeches that are remembered as cancelled; more than can have pictures in a run of dropped pairs."""
_NO_PICTURE: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)


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
        self._pairs: deque[Pair | Dropped] = deque()
        self._held = 0  # pairs in it that were not dropped
        self._first = 0  # serial number of the leftmost pair
        self._taken = [0, 0]  # serial number that each lane takes next
        self._done = [0, 0]  # serial number up to which each lane has written everything
        self._next_tick = [0, 0]  # tick that continues the run, for each lane
        self._last_tick = 0  # tick before which the run ends
        self._untaken_puts = 0  # since a picture was taken
        self._shown: Pair | None = None  # what the picture's lane has taken last
        self._taken_back: deque[str] = deque(maxlen=_TAKEN_BACK)  # speeches of which no picture is repeated
        self._idle: Pair | None = None  # repeated instead
        self._latest = (0, 0)  # tick and position of the pair that was put last
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
            self._latest = (pair.tick, pair.position)
            self._untaken_puts += 1
            self._held += 1
            self._changed.notify_all()

    def take_back(self, speeches: Collection[str], idle_instead: IdleInstead) -> TakenBack:
        """Puts idle in the place of the pairs of these speeches of which no lane has taken anything.

        The first of them fades, where it goes on with what the encoder has. Pairs of which one half went to the encoder
        stay whole: sound is never without its lips.
        """
        with self._changed:
            begin = max(self._taken) - self._first
            heard: dict[str, int] = {}
            idle = False
            for i in range(begin, len(self._pairs)):
                place = self._pairs[i]
                if place.speech is None or place.speech not in speeches:
                    continue
                idle = True
                if place.frame is not None:
                    heard.setdefault(place.speech, place.frame)
                if isinstance(place, Dropped):
                    self._dropped_of[place.speech] -= 1
                    continue
                goes_on = i == begin and place.frame != 0 and place.tick == max(self._next_tick)
                if goes_on and place.frame is not None:
                    heard[place.speech] = place.frame + 1
                self._pairs[i] = idle_instead(place.tick, place.position, place if goes_on else None)
                self._recycle(place)
            self._taken_back.extend(speeches)
            self._idle = idle_instead(*self._latest, None)
            return TakenBack(heard, idle)

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
            while self._pairs and isinstance(self._pairs[0], Dropped):
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

    def _after(self, serial: int) -> islice[Pair | Dropped]:
        return islice(self._pairs, serial - self._first, None)

    def _in_place_of(self, dropped: Dropped, lane: Lane) -> Pair:
        if lane is Lane.AUDIO:
            return Pair(dropped.tick, _NO_PICTURE, SILENCE, pooled=False)
        shown = self._idle if self._shown is not None and self._shown.speech in self._taken_back else self._shown
        assert shown is not None, "a run begins with a whole pair"
        return replace(shown, tick=dropped.tick, sound=SILENCE, pooled=False)

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
        self._pairs[index] = Dropped(pair.tick, pair.speech, pair.frame)
        self._held -= 1
        self._count(pair)
        self._recycle(pair)
        self._cut_long_freeze(untaken)

    def _is_speech(self, index: int) -> bool:
        pair = self._pairs[index]
        return isinstance(pair, Pair) and pair.speech is not None

    def _is_beside_dropped(self, index: int) -> bool:
        beside = (i for i in (index - 1, index + 1) if 0 <= i < len(self._pairs))
        return any(isinstance(self._pairs[i], Dropped) for i in beside)

    def _cut_long_freeze(self, at: int) -> None:
        length = 0
        while at + length < len(self._pairs) and isinstance(self._pairs[at + length], Dropped):
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
