"""Audio features of a speech, fetched window by window just ahead of the frames that need them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference import span
from inference.attempts import Recover, attempt, no_recovery
from latentsync.audio import frame_windows, split_windows
from latentsync.contract import CONTRACT

# Video frame i uses features 2i - 4 … 2i + 5.
_POSITIONS_PER_FRAME = CONTRACT.positions_per_frame
_BEFORE = CONTRACT.positions_before_frame
_AFTER = CONTRACT.frame_window_positions - _BEFORE


class FeatureModel(Protocol):
    """A source of features; `TritonClient` is one."""

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        """Features [1500, 5, 384] of PCM [480000]."""
        ...


class SpeechFeatures:
    """The features of one speech; only the windows in use and `windows_ahead` more are held in memory."""

    def __init__(
        self,
        model: FeatureModel,
        pcm: NDArray[np.float32],
        windows_ahead: int,
        attempts: int,
        clock: Callable[[], float],
        recover: Recover = no_recovery,
    ) -> None:
        self._model = model
        self._windows, counts = split_windows(pcm)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)
        self._ahead = windows_ahead
        self._attempts = attempts
        self._clock = clock
        self._recover = recover
        self._tasks: dict[int, asyncio.Task[NDArray[np.float16]]] = {}
        self.whisper_s: list[float] = []

    async def for_frames(self, first: int, last: int) -> NDArray[np.float16]:
        """The features of frames `first` to `last` inclusive, float16 [frames, 50, 384]; awaits only their windows."""
        low = max(0, _POSITIONS_PER_FRAME * first - _BEFORE)
        high = min(int(self._starts[-1]), _POSITIONS_PER_FRAME * last + _AFTER)
        needed = range(self._window_of(low), self._window_of(high - 1) + 1)
        for index in needed:
            self._fetch(index)
        # Shielded: several chunks may await one window, and one of them may be cancelled.
        parts = await asyncio.gather(*(asyncio.shield(self._tasks[index]) for index in needed))
        joined = np.concatenate([part[: self._count(index)] for index, part in zip(needed, parts, strict=True)])
        offset = int(self._starts[needed.start])
        local = joined[low - offset : high - offset]
        # `low` is even, so the local array begins at a frame. Where indices are clamped, its ends are the speech's.
        shift = low // _POSITIONS_PER_FRAME
        return frame_windows(local, range(first - shift, last + 1 - shift)).astype(np.float16, copy=False)

    def begin(self) -> None:
        """Fetch the first window."""
        self._fetch(0)

    def move_on(self, frame: int) -> None:
        """Frames before `frame` are done: drop their windows and fetch the next ones."""
        current = self._window_of(max(0, _POSITIONS_PER_FRAME * frame - _BEFORE))
        for index in [index for index in self._tasks if index < current]:
            del self._tasks[index]
        for index in range(current, min(current + self._ahead, len(self._windows) - 1) + 1):
            self._fetch(index)

    async def aclose(self) -> None:
        """Cancel the requests in flight."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _window_of(self, feature: int) -> int:
        return min(int(np.searchsorted(self._starts, feature, side="right")) - 1, len(self._windows) - 1)

    def _count(self, index: int) -> int:
        return int(self._starts[index + 1] - self._starts[index])

    def _fetch(self, index: int) -> None:
        if index not in self._tasks:
            self._tasks[index] = asyncio.create_task(self._features(index))

    async def _features(self, index: int) -> NDArray[np.float16]:
        begun = self._clock()
        window = self._windows[index]
        with span.child("features", window=index):
            features = await attempt(
                lambda: self._model.features(window), f"audio window {index}", self._attempts, self._recover
            )
        self.whisper_s.append(self._clock() - begun)
        return features
