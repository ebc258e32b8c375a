"""Idle's position on the avatar's path: it moves on, lingers around a position, or approaches one; it never jumps."""

from __future__ import annotations

import math

_ACCELERATION = 0.25  # positions per frame²: from full speed to rest in 4 frames, over 2 positions
_LINGER_SPEED = 0.5


class IdleWalk:
    """A point with bounded speed (one position a frame) and bounded acceleration; `position` is it, rounded."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._offset = 0.0  # exact place relative to `position`, so that weeks of walking lose no precision
        self._speed = 1.0
        self._anchor: int | None = None  # of the lingering that goes on
        self._rising = True
        self._lingers = False

    def place(self, position: int) -> None:
        """Speech has carried the body to `position`, at full speed."""
        self.position = position
        self._offset = 0.0
        self._speed = 1.0
        self._anchor = None

    def relabel(self, position: int) -> None:
        """The place is called `position` from now on: one that looks the same and goes on the same way."""
        self.position = position
        self._anchor = None

    def walk(self) -> None:
        """One frame of plain idle motion, forwards."""
        self._anchor = None
        self._step(1.0)

    def linger(self, anchor: int, half_width: int) -> None:
        """One frame of waiting: up to `anchor` at full speed, then slowly in [anchor - 2 half_width, anchor]."""
        if anchor != self._anchor:  # whichever way idle last went around a position, it comes to the next one forwards
            self._anchor, self._rising, self._lingers = anchor, True, False
        low, high = anchor - 2 * half_width, anchor
        place = self.position + self._offset
        if place > high - 1 - self._braking_distance():
            self._rising, self._lingers = False, True
        elif place < low + self._braking_distance():
            self._rising = True
        speed = _LINGER_SPEED if self._lingers and low - 1 <= place <= high + 1 else 1.0
        self._step(speed if self._rising else -speed)

    def approach(self, anchor: int) -> None:
        """One frame of coming to `anchor`: from below at full speed, from above braking to rest there."""
        distance = anchor - (self.position + self._offset)
        if distance >= 0:
            self._step(1.0)
        else:
            self._step(-min(1.0, math.sqrt(2 * _ACCELERATION * -distance)))

    def arrives(self, anchor: int) -> bool:
        """True when the next frame may show `anchor` and go on forwards from there."""
        return self.position in (anchor - 1, anchor) and self._speed > -_LINGER_SPEED

    def _braking_distance(self) -> float:
        return self._speed * self._speed / (2 * _ACCELERATION)

    def _step(self, wanted_speed: float) -> None:
        change = max(-_ACCELERATION, min(_ACCELERATION, wanted_speed - self._speed))
        self._speed += change
        exact = self._offset + self._speed
        step = max(-1, min(1, math.floor(exact + 0.5)))
        self.position += step
        self._offset = exact - step
