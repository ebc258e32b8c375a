"""Audio features of a speech that may still be arriving: windows of its sound, encoded when its frames need them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference import span
from inference.attempts import Recover, attempt, no_recovery
from latentsync.audio import PADDING, frame_windows
from latentsync.contract import CONTRACT
from speech.pauses import is_quiet
from speech.timeline import SpeechTimeline
from speech.windows import WindowPolicy

# Frame i hears positions 2i - 4 … 2i + 5, two of which a frame lasts: two frames before its own, and two after it.
_HEARD_BEFORE = -(-CONTRACT.positions_before_frame // CONTRACT.positions_per_frame)
_HEARD_AFTER = -(-(CONTRACT.frame_window_positions - CONTRACT.positions_before_frame) // CONTRACT.positions_per_frame)


class FeatureModel(Protocol):
    """A source of features; `TritonClient` is one."""

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        """Features [k, 5, 384] of PCM [n], n a whole number of seconds: of each 320 samples of its speech at least."""
        ...


class SpeechFeatures:
    """The features of one speech. One window is held in memory; what it covers is not encoded again."""

    def __init__(
        self,
        model: FeatureModel,
        timeline: SpeechTimeline,
        policy: WindowPolicy,
        attempts: int,
        clock: Callable[[], float],
        recover: Recover = no_recovery,
    ) -> None:
        self._model = model
        self._timeline = timeline
        self._policy = policy
        self._attempts = attempts
        self._clock = clock
        self._recover = recover
        self._begin = self._end = 0  # frames of the window that is held
        self._complete = False  # nothing that belongs to its frames follows them
        self._window: NDArray[np.float16] = np.empty((0, CONTRACT.hidden_states, CONTRACT.hidden_size), np.float16)
        self._one_at_a_time = asyncio.Lock()
        self._begun: list[asyncio.Task[None]] = []
        self._arrived, self._arrived_at = 0, 0.0  # frames that had come when another came last, and when that was
        self.whisper_s: list[float] = []
        self.uneven_s = 0.0
        """By how much sound that the first window waited for came later than what had come before it promised."""
        self.joins: list[int] = []  # frames whose window begins elsewhere than that of the frame before them

    def ready_to(self, first: int) -> int:
        """The end of the frames from `first` on whose features can be made now; `first` where there are none."""
        total, policy = self._timeline.total, self._policy
        if total is not None:
            return max(first, total)
        if self._timeline.at_pause:
            return max(first, self._timeline.available)
        if policy.look_ahead_frames is not None:
            return max(first, self._timeline.available - _HEARD_AFTER + 1 - policy.look_ahead_frames)
        if first < self._reach(self._end):
            return self._reach(self._end)
        end = self._after_overlap(first) + policy.length_frames
        return self._reach(end) if self._timeline.available >= end else first

    def covers(self, first: int, count: int) -> bool:
        """Whether the window that is held has the features of so many frames from `first` on."""
        return self._begin <= max(0, first - _HEARD_BEFORE) and first + count <= self._covered_to

    def sound_due_s(self, first: int, count: int) -> float:
        """Seconds until the sound has been spoken that the features of `count` frames from `first` on need."""
        if self.ready_to(first) >= first + count:
            return 0.0
        available = self._timeline.available
        missing = first + count + _HEARD_AFTER - 1 + (self._policy.look_ahead_frames or 0) - available
        # Of the next frame a part has been spoken already.
        spoken_s = 0.0 if available != self._arrived else self._clock() - self._arrived_at
        return max(0.0, missing / CONTRACT.frames_per_second - min(spoken_s, 1 / CONTRACT.frames_per_second))

    async def for_frames(self, first: int, last: int) -> NDArray[np.float16]:
        """The features of frames `first` to `last` inclusive, float16 [frames, 50, 384]; raises InferenceError.

        All of the frames must be ready, and are asked for in their order.
        """
        async with self._one_at_a_time:
            if not await self._holds(first, last):
                await self._encode(first, last)
            begin, window = self._begin, self._window
        return frame_windows(window, range(first - begin, last + 1 - begin)).astype(np.float16, copy=False)

    def begin(self, first: int, count: int) -> None:
        """Encode the window of the `count` frames from `first` on as soon as all of them are ready, or the last is."""
        self._begun.append(asyncio.create_task(self._encode_when_ready(first, count)))

    async def aclose(self) -> None:
        """Cancel the requests in flight."""
        # Given up: a failed one holds its error, whose traceback holds these features.
        begun, self._begun = self._begun, []
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)  # who needs the window asks again

    async def _encode_when_ready(self, first: int, count: int) -> None:
        arrived, earliest_s, is_first = self._timeline.available, math.inf, not self.whisper_s
        # At a pause what is there is all that belongs to it, and what follows is for whoever asks then.
        while self.ready_to(first) < first + count and self._timeline.total is None and not self._timeline.at_pause:
            earliest_s = min(earliest_s, self._clock() - arrived / CONTRACT.frames_per_second)
            await self._timeline.wait_beyond(arrived)
            # Of the frames that come at once the first one waited longest; sound faster than speech is never late.
            late_s = self._clock() - (arrived + 1) / CONTRACT.frames_per_second - earliest_s
            if is_first:
                self.uneven_s = max(self.uneven_s, late_s)
            arrived = self._timeline.available
            self._arrived, self._arrived_at = arrived, self._clock()
        if (end := min(first + count, self.ready_to(first))) > first:
            await self.for_frames(first, end - 1)

    @property
    def _covered_to(self) -> int:
        if self._complete or self._end == self._timeline.total:
            return self._end
        return self._reach(self._end) - (self._policy.look_ahead_frames or 0)

    async def _holds(self, first: int, last: int) -> bool:
        if not self.covers(first, last + 1 - first):
            return False
        if first - self._begin < self._policy.renew_after_frames or self._end == self._timeline.total:
            return True
        return not await is_quiet(self._timeline, first)

    async def _encode(self, first: int, last: int) -> None:
        begin = await self._window_begin(first, last)
        if begin != self._begin:
            self.joins.append(first)
        available = self._timeline.available
        end = min(available, begin + self._policy.length_frames)
        complete = end == available and (self._timeline.total is not None or self._timeline.at_pause)
        pcm = (await self._timeline.read(begin, end - begin)).heard.reshape(-1)
        window = np.full(self._policy.padded_s * CONTRACT.sample_rate_hz, PADDING, np.float32)
        window[: len(pcm)] = pcm / np.float32(32768)
        begun = self._clock()
        with span.child("features", first_frame=begin, frames=end - begin):
            features = await attempt(
                lambda: self._model.features(window), f"audio window of frame {first}", self._attempts, self._recover
            )
        self.whisper_s.append(self._clock() - begun)
        self._window = features[: CONTRACT.positions_per_frame * (end - begin)]
        self._begin, self._end, self._complete = begin, end, complete

    async def _window_begin(self, first: int, last: int) -> int:
        """Where the window of these frames begins: as the one before it, unless that is full or a pause ends it."""
        policy, held = self._policy, self._begin
        needed = last + _HEARD_AFTER + (policy.look_ahead_frames or 0)
        if self._timeline.total is not None:
            needed = min(needed, self._timeline.total)
        if needed - held > policy.length_frames:
            # As much as the window holds: of what was before where more is not there yet, else of what follows.
            return max(0, min(self._after_overlap(first), self._timeline.available - policy.length_frames))
        if first - held >= policy.renew_after_frames and await is_quiet(self._timeline, first):
            return self._after_overlap(first)
        return held

    def _after_overlap(self, first: int) -> int:
        return max(0, first - self._policy.overlap_frames)

    def _reach(self, end: int) -> int:
        """The end of the frames that hear nothing beyond a window that ends there."""
        return end - _HEARD_AFTER + 1
