"""The pace of generation: frames a second within a speech, and what a channel's earlier speeches took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# The lead of a channel's first speech. Too long is a delay that everyone notices; too short only prolongs the idle
# video.
_FIRST_LEAD_S = 0.2
_LONGEST_LEAD_S = 10.0


@dataclass
class Pace:
    """Measurements of a channel's earlier speeches: seconds until a speech may start, and the rate in frames/s."""

    lead_s: float = _FIRST_LEAD_S
    frames_per_s: float | None = None

    def learn(self, lead_s: float) -> None:
        """Move halfway to a new measurement, so that one slow speech doesn't delay all later ones."""
        self.lead_s = min((self.lead_s + lead_s) / 2, _LONGEST_LEAD_S)


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
