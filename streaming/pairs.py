"""Queue of (picture, sound) pairs between the frame clock and the encoder, which only ever loses whole pairs."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streaming.audio import SILENCE
from streaming.config import FPS
from streaming.frame_pool import FramePool
from streaming.pair import Dropped, IdleInstead, Pair, TakenBack

_STUCK = 25
"""An encoder that takes nothing while so many pairs come is stuck, and not merely slow."""
_LONGEST_FREEZE = 25
"""Dropped pairs in a row for which a run repeats its last picture; more of them end the run."""
_PRE_ROLL = 8
"""Pairs whose sound a new encoder gets again: more than one that was killed can have held of it."""
_TAKEN_BACK = 64
"""Speeches that are remembered as cancelled; more than can have pictures in a run of dropped pairs."""

_NO_PICTURE: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)


class PairQueue:
    """Bounded queue between the frame clock and one run of the encoder after another.

    When it is full, single pairs are dropped, those of idle first. In the place of a dropped pair the last picture is
    repeated, with silence: that costs the encoder little, and players see no gap. A run ends before a long row of
    dropped pairs, before each multiple of `timeline` ticks, where time begins anew, and where `finish_run` says so; the
    next one begins at its true time. A pair that an encoder was not given whole before it died begins the next run.
    """

    def __init__(self, capacity: int, pool: FramePool, timeline: int) -> None:
        self.sent = 0
        self.taken = 0
        """Pairs that were taken or passed over, since the start."""
        self.dropped = 0
        self.dropped_speech = 0
        self._dropped_of: Counter[str] = Counter()
        self._capacity = capacity
        self._pool = pool
        self._timeline = timeline
        self._pairs: deque[Pair | Dropped] = deque()
        self._held = 0  # pairs in it that were not dropped
        self._given: Pair | Dropped | None = None  # what the writer has taken and not yet written
        self._given_run = 0
        self._heard: deque[Pair] = deque(maxlen=_PRE_ROLL + 1)  # the sound that was given last, without pictures
        self._begins = False  # a run whose first pair, which isn't dropped, was not taken yet
        self._shown: Pair | None = None  # whose picture is repeated in the place of a dropped one
        self._next_tick = 0  # tick that continues the run
        self._last_tick = 0  # tick before which the run ends
        self._untaken_puts = 0  # since a pair was taken
        self._taken_back: deque[str] = deque(maxlen=_TAKEN_BACK)  # speeches of which no picture is repeated
        self._idle: Pair | None = None  # repeated instead
        self._latest = (0, 0)  # tick and position of the pair that was put last
        self._run = 0
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """Pairs that wait."""
        return self._held

    def has_passed(self, tick: int) -> bool:
        """Whether no pair up to this tick waits any more: each one went to the encoder or was dropped."""
        with self._changed:
            first = next((pair for pair in self._pairs if isinstance(pair, Pair)), None)
            return first is None or first.tick > tick

    def dropped_of(self, speech: str) -> int:
        """Pairs of a speech that were dropped; forgets the number."""
        with self._changed:
            return self._dropped_of.pop(speech, 0)

    def put(self, pair: Pair) -> None:
        """Queues a pair; in a full queue another one is dropped for it."""
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
        """Puts idle in the place of the pairs of these speeches that wait.

        The first of them fades, where it goes on with what the encoder has.
        """
        with self._changed:
            heard: dict[str, int] = {}
            idle = False
            for i, place in enumerate(self._pairs):
                if place.speech is None or place.speech not in speeches:
                    continue
                idle = True
                if place.frame is not None:
                    heard.setdefault(place.speech, place.frame)
                if isinstance(place, Dropped):
                    self._dropped_of[place.speech] -= 1
                    continue
                goes_on = i == 0 and place.frame != 0 and place.tick == self._next_tick
                if goes_on and place.frame is not None:
                    heard[place.speech] = place.frame + 1
                self._pairs[i] = idle_instead(place.tick, place.position, place if goes_on else None)
                self._recycle(place)
            self._taken_back.extend(speeches)
            self._idle = idle_instead(*self._latest, None)
            return TakenBack(heard, idle)

    def begin_run(self, timeout_s: float, room: int = 0) -> tuple[int, int] | None:
        """Starts a new run at the first whole pair: its number and that pair's tick; None when none came in time.

        In a queue with places for less than `room` more the oldest pairs are dropped first.
        """
        with self._changed:
            self._run += 1
            self._take_over()
            while self._pairs and isinstance(self._pairs[0], Dropped):
                self._pairs.popleft()
            if not self._changed.wait_for(lambda: self._pairs or self._closed, timeout_s) or not self._pairs:
                return None
            self._make(room)
            first = self._pairs[0].tick
            self._next_tick = first
            self._begins = True
            self._last_tick = (first // self._timeline + 1) * self._timeline
            return self._run, first

    def take(self, run: int) -> Pair | None:
        """The next pair, by a writer who has written the one before; None ends the run.

        The pair's picture stays valid until another one is taken.
        """
        with self._changed:
            if run == self._given_run:
                self._note_written()
            self._changed.wait_for(lambda: self._is_over(run) or self._pairs)
            if self._is_over(run) or self._pairs[0].tick != self._next_tick:
                return None
            pair = self._given = self._pairs.popleft()
            self._given_run = run
            self._begins = False
            self.taken += 1
            self._next_tick += 1
            self._untaken_puts = 0
            if isinstance(pair, Dropped):
                pair = self._in_place_of(pair)
            else:
                self._held -= 1
                if self._shown is not None:
                    self._recycle(self._shown)
                self._shown = pair
            self._heard.append(replace(pair, picture=_NO_PICTURE, pooled=False))
            return pair

    def pre_roll(self, first: int) -> list[Pair]:
        """The sound just before tick `first`, without pictures: an encoder that died held back some of it."""
        with self._changed:
            start = max(first - _PRE_ROLL, first // self._timeline * self._timeline)
            before = [pair for pair in self._heard if start <= pair.tick < first]
            goes_on = bool(before) and before[-1].tick == first - 1
            return before if goes_on else []

    def finish_run(self, run: int) -> None:
        """Ends a run in order, after the pair that its encoder is given now; the next run begins after it."""
        with self._changed:
            if run == self._run:
                self._last_tick = min(self._last_tick, self._next_tick)
                self._changed.notify_all()

    def end_run(self, run: int) -> None:
        """Lets the writer of a run whose encoder is gone return; what it did not take stays for the next run."""
        with self._changed:
            if run == self._run:
                self._run += 1
                self._begins = False
                self._changed.notify_all()

    def close(self) -> None:
        """Takes no more pairs; the writer drains what is queued and ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_over(self, run: int) -> bool:
        return run != self._run or (self._closed and not self._pairs) or self._next_tick >= self._last_tick

    def _note_written(self) -> None:
        if isinstance(self._given, Pair):
            self.sent += 1
        self._given = None

    def _take_over(self) -> None:
        """Lets go of the last picture of the run before, and puts back the pair that its encoder was not given whole.

        Where the next one isn't whole, as after an encoder that hung, it is dropped: a run of one pair helps nobody.
        """
        pair, shown = self._given, self._shown
        self._given = self._shown = None
        if isinstance(pair, Pair) and (not self._pairs or self._is_next(self._pairs[0], pair)):
            self._pairs.appendleft(pair)
            self._held += 1
            self._heard.pop()
            return
        if isinstance(pair, Pair):
            self._count(pair)
        if shown is not None:
            self._recycle(shown)

    @staticmethod
    def _is_next(place: Pair | Dropped, pair: Pair) -> bool:
        return isinstance(place, Pair) and place.tick == pair.tick + 1

    def _in_place_of(self, dropped: Dropped) -> Pair:
        shown = self._idle if self._shown is not None and self._shown.speech in self._taken_back else self._shown
        assert shown is not None, "a run begins with a whole pair"
        due_s = shown.due_s + (dropped.tick - shown.tick) / FPS
        return replace(shown, tick=dropped.tick, sound=SILENCE, pooled=False, due_s=due_s)

    def _make(self, room: int) -> None:
        while self._held > max(1, self._capacity - room):
            oldest = self._pairs.popleft()
            if isinstance(oldest, Pair):
                self._held -= 1
                self._count(oldest)
                self._recycle(oldest)
        while isinstance(self._pairs[0], Dropped):
            self._pairs.popleft()

    def _drop_one(self) -> None:
        """Drops a pair that waits, of idle before speech.

        For a slow encoder, one whose neighbours were kept: a repeated picture is hardly seen, a row of them is. For
        one that is stuck, the oldest: what comes after the hold-up shall be whole.
        """
        whole = [i for i in range(self._begins, len(self._pairs)) if isinstance(self._pairs[i], Pair)]
        stuck = self._untaken_puts > _STUCK
        index = min(whole, key=lambda i: (self._is_speech(i), not stuck and self._is_beside_dropped(i), i))
        pair = self._pairs[index]
        assert isinstance(pair, Pair)
        self._pairs[index] = Dropped(pair.tick, pair.speech, pair.frame)
        self._held -= 1
        self._count(pair)
        self._recycle(pair)
        self._cut_long_freeze()

    def _is_speech(self, index: int) -> bool:
        pair = self._pairs[index]
        return isinstance(pair, Pair) and pair.speech is not None

    def _is_beside_dropped(self, index: int) -> bool:
        beside = (i for i in (index - 1, index + 1) if 0 <= i < len(self._pairs))
        return any(isinstance(self._pairs[i], Dropped) for i in beside)

    def _cut_long_freeze(self) -> None:
        length = next((i for i, pair in enumerate(self._pairs) if isinstance(pair, Pair)), len(self._pairs))
        if length > _LONGEST_FREEZE:
            for _ in range(length):
                self._pairs.popleft()

    def _count(self, pair: Pair) -> None:
        self.dropped += 1
        if pair.speech is not None:
            self.dropped_speech += 1
            self._dropped_of[pair.speech] += 1

    def _recycle(self, pair: Pair) -> None:
        if pair.pooled:
            self._pool.give_back(pair.picture)
