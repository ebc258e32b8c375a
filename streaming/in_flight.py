"""A bound for the pictures that an encoder has taken and not put out."""

from __future__ import annotations

import threading

_IN_FLIGHT = 3
"""Fewer would slow an encoder down that could be faster than real time."""
_PATIENCE_S = 1.0


class InFlight:
    """Holds a writer back while the encoder has as many pictures as it needs to work.

    Its threads have queues between them, of 12 pictures with ffmpeg 5.1 and 18 with 9.0 where encoding is what takes
    the time: half a second that no interrupt could reach. One more picture is let in each second while none comes out,
    for an encoder that needs more than this before it begins.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._over = False
        self._changed = threading.Condition()

    def enter(self) -> None:
        """Waits until a picture may be written; returns at once when no more come out."""
        with self._changed:
            self._changed.wait_for(lambda: self._inside < _IN_FLIGHT or self._over, _PATIENCE_S)
            self._inside += 1

    def leave(self) -> None:
        """A picture has come out."""
        with self._changed:
            self._inside -= 1
            self._changed.notify()

    def close(self) -> None:
        """The encoder's output has ended."""
        with self._changed:
            self._over = True
            self._changed.notify()
