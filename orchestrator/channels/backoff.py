"""How long to wait before a channel's process is started again."""

from __future__ import annotations

_FIRST_S = 0.5
_LONGEST_S = 30.0
_SETTLED_S = 60.0


class RestartDelay:
    """Doubles from 0.5 to 30 s with each restart; a process that ran for a minute makes the next failure a first one.

    A process that starts and dies at once would else be started twice a second for ever.
    """

    def __init__(self) -> None:
        self._next_s = _FIRST_S

    def after(self, ran_s: float) -> float:
        """Seconds to wait after a process that ran for so long; 0 for one that didn't start."""
        if ran_s >= _SETTLED_S:
            self._next_s = _FIRST_S
        delay_s, self._next_s = self._next_s, min(2 * self._next_s, _LONGEST_S)
        return delay_s
