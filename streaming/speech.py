"""A speech as the mixer knows it: how many frames it has, how many have arrived, and when it may play."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Speech:
    """Frames 0 … `frame_count` - 1 belong to positions `start` …; `played` of `available` were shown."""

    id: str
    start: int
    frame_count: int
    start_after: int
    available: int = 0
    ended: bool = False
    played: int = 0

    @property
    def end(self) -> int:
        """Position after the last frame."""
        return self.start + self.frame_count

    @property
    def next_position(self) -> int:
        """Position of the next frame to play."""
        return self.start + self.played

    @property
    def over(self) -> bool:
        """True when every frame was played."""
        return self.played >= self.frame_count

    def may_play(self) -> bool:
        """True when enough frames have arrived to start, or to resume after a wait."""
        if self.ended:
            return self.available > self.played
        return self.available - self.played >= min(self.start_after, self.frame_count - self.played)


def nearest_equivalent(start: int, position: int, period: int) -> int:
    """The position nearest to `position` that shows the same avatar frame as `start`, going the same way."""
    ahead = (start - position) % period
    return position + (ahead if ahead <= period // 2 else ahead - period)


def next_equivalent(start: int, earliest: int, period: int) -> int:
    """The first position from `earliest` on that shows the same avatar frame as `start`, going the same way."""
    return earliest + (start - earliest) % period
