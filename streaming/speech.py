"""A speech as the mixer knows it: how many frames have arrived, where it ends, and when it may play."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Speech:
    """Frames 0, 1 … belong to positions `start` …; `played` of `available` were shown.

    `frame_count` is None until the end is known; `ended` says that no more frames come. `pause_at` is the number of
    frames behind which the speech may pause, of those that have arrived the last such one.
    """

    id: str
    start: int
    frame_count: int | None
    start_after: int
    available: int = 0
    ended: bool = False
    played: int = 0
    pause_at: int | None = None

    @property
    def end(self) -> int | None:
        """Position after the last frame, None while it isn't known."""
        return None if self.frame_count is None else self.start + self.frame_count

    @property
    def remaining(self) -> int | None:
        """Frames that were not played yet, None while the end isn't known."""
        return None if self.frame_count is None else self.frame_count - self.played

    @property
    def next_position(self) -> int:
        """Position of the next frame to play."""
        return self.start + self.played

    @property
    def over(self) -> bool:
        """True when every frame was played, and no other can come."""
        return self.remaining is not None and self.remaining <= 0

    @property
    def may_pause(self) -> bool:
        """Whether what was played ends where the speech may pause."""
        return self.pause_at == self.played

    def arrived(self, frames: int, may_pause: bool) -> None:
        """The first `frames` frames are there; the speech may pause behind them."""
        if may_pause:
            self.pause_at = frames
        most = frames if self.frame_count is None else min(frames, self.frame_count)
        self.available = max(self.available, most)

    def end_at(self, frames: int) -> None:
        """No more than `frames` frames come."""
        self.frame_count = frames if self.frame_count is None else min(frames, self.frame_count)
        self.ended = True

    def may_play(self) -> bool:
        """True when enough frames have arrived to start, or to resume after a wait."""
        ready = self.available - self.played
        if self.ended:
            return ready > 0
        return ready >= (self.start_after if self.remaining is None else min(self.start_after, self.remaining))


def nearest_equivalent(start: int, position: int, period: int) -> int:
    """The position nearest to `position` that shows the same avatar frame as `start`, going the same way."""
    ahead = (start - position) % period
    return position + (ahead if ahead <= period // 2 else ahead - period)


def next_equivalent(start: int, earliest: int, period: int) -> int:
    """The first position from `earliest` on that shows the same avatar frame as `start`, going the same way."""
    return earliest + (start - earliest) % period
