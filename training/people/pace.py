"""How many renderers a training beside them can bear."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Lets as many processes render as leave a training `share` of the speed that it has alone.

    Renderers and training take turns on a GPU, and how long a turn lasts is the driver's choice. So the speed is
    measured: first while nobody renders, then again and again.
    """

    def __init__(
        self,
        allow: Callable[[int], None],
        most: int,
        share: float,
        warm_up_steps: int = 50,
        window_s: float = 6.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`warm_up_steps` are slower than all others, so they aren't measured, and as many render as can."""
        self._allow, self._most, self._share = allow, most, share
        self._warm_up, self._window_s, self._clock = warm_up_steps, window_s, clock
        self._steps, self._since, self._counted = 0, clock(), 0
        self._alone: float | None = None
        self._settles = False
        self.running = most
        allow(most)

    def step(self) -> None:
        """Tell that a step of the training is done."""
        self._steps += 1
        if self._steps < self._warm_up:
            return
        now = self._clock()
        if self._steps == self._warm_up:
            # Who renders now ends its take first.
            self._set(0)
            self._settles, self._since, self._counted = True, now, 0
            return
        self._counted += 1
        if now - self._since < self._window_s:
            return
        rate = self._counted / (now - self._since)
        self._since, self._counted = now, 0
        if self._settles:
            self._settles = False
        elif self._alone is None:
            self._alone = rate
            self._set(min(4, self._most))
        elif rate < self._share * self._alone:
            self._set(max(1, self.running // 2))
        elif rate > (self._share + 0.1) * self._alone:
            self._set(min(self._most, self.running + 2))

    def _set(self, running: int) -> None:
        self.running = running
        self._allow(running)
