"""The rate of generation, and the earliest start of a speech that plays without an underrun."""

from __future__ import annotations

import math
from collections.abc import Callable

from latentsync.contract import CONTRACT
from speech.audio.frames import FPS


def wait_before_start_s(
    rate: float, ready: int, total: int, chunk: int = CONTRACT.chunk_frames, fps: float = FPS, next_chunk_s: float = 0.0
) -> float:
    """Seconds from now until playback may start and never waits for a frame; 0 when it may start now.

    `rate` is the generation in frames/s. `ready` of `total` frames are generated, and the others arrive in chunks. The
    next one arrives after `next_chunk_s` where that is more than 16 / rate: chunks of one batch have a high rate and a
    high latency. Chunk j is complete 16 (j − 1) / rate after that, and its first frame is shown
    (ready + 16 (j − 1)) / fps after the start. Whichever of the two grows faster decides whether the first or the last
    chunk is the critical one.
    """
    if rate <= 0 or not math.isfinite(rate):
        raise ValueError(f"rate must be a positive number of frames/s, got {rate}")
    missing = total - ready
    if missing <= 0:
        return 0.0
    last = math.ceil(missing / chunk)
    first_s = max(next_chunk_s, chunk / rate)
    return max(0.0, *(first_s + chunk * j / rate - (ready + chunk * j) / fps for j in (0, last - 1)))


class RateMeter:
    """Frames per second while requests are in flight; waiting for the player does not count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._running = 0
        self._since = 0.0
        self._busy_s = 0.0
        self._frames = 0

    def started(self) -> None:
        """A request for frames was sent."""
        if self._running == 0:
            self._since = self._clock()
        self._running += 1

    def ended(self, frames: int) -> None:
        """A request was answered with `frames` frames, 0 when it failed."""
        self._running -= 1
        self._frames += frames
        if self._running == 0:
            self._busy_s += self._clock() - self._since

    @property
    def busy_s(self) -> float:
        """Seconds during which at least one request was in flight."""
        return self._busy_s + (self._clock() - self._since if self._running else 0.0)

    @property
    def frames_per_s(self) -> float | None:
        """The rate until now; None before the first frame."""
        return self._frames / self.busy_s if self._frames and self.busy_s > 0 else None
