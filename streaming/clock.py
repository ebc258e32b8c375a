"""The frame clock: frame n is due at t0 + n / 25, for weeks, on a monotonic time that comes from outside."""

from __future__ import annotations

from collections.abc import Callable

from streaming.config import FPS


class FrameClock:
    """Absolute schedule of frames.

    After a stall (the process was stopped, or starved) frames that are at most `catch_up_s` late are made up at twice
    the frame rate. What is later than that is never sent: the schedule moves, the stream resumes with the next frame
    and one `stall` is counted. So no burst is longer than `catch_up_s`, and since each frame carries its own 40 ms of
    sound, a stall cannot part picture and sound.
    """

    def __init__(self, now: Callable[[], float], sleep: Callable[[float], None], catch_up_s: float = 0.5) -> None:
        self._now = now
        self._sleep = sleep
        self._catch_up_s = catch_up_s
        self._t0 = now()
        self._frame = 0
        self._last = self._t0 - 1.0
        self.stalls = 0

    @property
    def frame(self) -> int:
        """Number of the frame that `wait` releases next."""
        return self._frame

    def lateness_s(self) -> float:
        """Seconds by which the next frame is late; negative while it is not due."""
        return self._now() - self.due_s(self._frame)

    def due_s(self, frame: int) -> float:
        """When a frame is due, on the present schedule."""
        return self._t0 + frame / FPS

    def wait(self) -> int:
        """Sleeps until the next frame is due and returns its number."""
        late = self.lateness_s()
        if late > self._catch_up_s:
            self._t0 += late
            self.stalls += 1
            late = 0.0
        spacing = max(-late, 0.5 / FPS - (self._now() - self._last))
        if spacing > 0:
            self._sleep(spacing)
        self._last = self._now()
        self._frame += 1
        return self._frame - 1
