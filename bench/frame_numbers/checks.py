"""What must hold for weeks: of the clock's frames, and of what a target receives."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.frame_numbers.stand_ins import FRAME_MS
from streaming.config import FPS
from streaming.flv_tags import TagKind

_RTMP_LIMIT_MS = 1 << 31
_SETTLING_FRAMES = 50

Fault = Callable[[str], None]


class ClockCheck:
    """Between two stalls frame n is released n · 40 ms after the first, but for how late a sleep may end."""

    def __init__(self) -> None:
        self.largest_error_ms = 0.0
        self._anchor: tuple[int, float] | None = None
        self._settled_at = 0

    def stalled(self, frame: int) -> None:
        """The process stood still before this frame; the schedule may have moved."""
        self._anchor = None
        self._settled_at = frame + _SETTLING_FRAMES

    def released(self, frame: int, now_s: float) -> None:
        """A frame is released."""
        if frame < self._settled_at:
            return
        if self._anchor is None:
            self._anchor = (frame, now_s)
        first, began_s = self._anchor
        error_ms = abs(now_s - began_s - (frame - first) / FPS) * 1000
        self.largest_error_ms = max(self.largest_error_ms, error_ms)


class ReceivedCheck:
    """Every picture comes once, in order, at the time that its number says; times fit RTMP's 31 bits."""

    def __init__(self, timeline_frames: int, fault: Fault) -> None:
        self.pictures = 0
        self.largest_ms = 0
        self.largest_offset_ms = 0
        self._timeline_frames = timeline_frames
        self._fault = fault
        self._start_ms = 0
        self._last_ms = {TagKind.PICTURE: -1, TagKind.SOUND: -1}

    def begin_epoch(self) -> None:
        """Times begin anew."""
        self._last_ms = dict.fromkeys(self._last_ms, -1)

    def received(self, packets: Iterable[tuple[TagKind, int, int]]) -> None:
        """Check packets of a target: kind, time in ms, and number of the frame."""
        for kind, time_ms, number in packets:
            if not self._last_ms[kind] < time_ms < _RTMP_LIMIT_MS:
                self._fault(f"{kind.name} of {time_ms} ms comes after one of {self._last_ms[kind]} ms")
            self._last_ms[kind] = time_ms
            if kind is TagKind.PICTURE:
                self._picture(time_ms, number)
        picture, sound = self._last_ms[TagKind.PICTURE], self._last_ms[TagKind.SOUND]
        self.largest_ms = max(self.largest_ms, picture, sound)
        if picture >= 0 and sound >= 0:
            self.largest_offset_ms = max(self.largest_offset_ms, abs(picture - sound))

    def _picture(self, time_ms: int, number: int) -> None:
        if number != self.pictures:
            self._fault(f"picture {number} comes where {self.pictures} was due")
        if number == 0:
            self._start_ms = time_ms
        expected_ms = self._start_ms + number % self._timeline_frames * FRAME_MS
        if time_ms != expected_ms:
            self._fault(f"picture {number} has the time {time_ms} ms, expected {expected_ms} ms")
        self.pictures = number + 1
