"""Which frame of which clip each position of a channel shows: the idle clip, with detours through motions. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

IDLE = ""
"""The name of the idle clip among the clips of an avatar; no motion can have it."""


class Priority(IntEnum):
    """Who asks for a motion; a higher one cuts a lower one short, an equal one waits for its end."""

    SCHEDULE = 0
    """Every so often while nothing else happens."""
    STATE = 1
    """What a conversation is at."""
    CUE = 2
    """A mark in a text, or a cue of whoever sends the sound."""
    REQUEST = 3
    """A request of its own."""


@dataclass(frozen=True)
class Detour:
    """Positions `start` … `end` - 1 show a motion, from step `entry` of the motion's own endless path on.

    `end` is None where it goes on until something ends it. The first `fade_in` positions and the last `fade_out` ones
    are crossfades from and to idle. From the last fade on, idle's own position is the path's plus `idle_shift`.
    """

    motion: str
    start: int
    end: int | None
    entry: int
    fade_in: int
    fade_out: int
    idle_shift: int
    priority: Priority = Priority.REQUEST

    def step(self, position: int) -> int:
        """The step of the motion's own path at a position."""
        return self.entry + position - self.start

    def covers(self, position: int) -> bool:
        """Whether the motion is seen at a position."""
        return position >= self.start and (self.end is None or position < self.end)


@dataclass(frozen=True)
class Shown:
    """Frame `frame` of `clip`; in a crossfade with `other_share` (at most a half) of another frame over it."""

    clip: str
    frame: int
    other_clip: str = IDLE
    other_frame: int = 0
    other_share: float = 0.0


FrameIndex = Callable[[int], int]
"""The frame at a position of a clip's own endless path."""


class ClipPath:
    """The frames along a channel's unbounded path: a function of the position alone, whichever way it is walked.

    What was handed out for a position stays true as long as detours are only changed behind it.
    """

    def __init__(self, clips: Mapping[str, FrameIndex]) -> None:
        """`clips` has an entry for each motion by its name, and one for `IDLE`."""
        self._clips = clips
        self._detours: tuple[Detour, ...] = ()
        self._starts: list[int] = []

    def add(self, name: str, clip: FrameIndex) -> None:
        """Another motion, or another clip of a motion that is on no position from now on."""
        self._clips = {**self._clips, name: clip}

    @property
    def detours(self) -> tuple[Detour, ...]:
        """In their order; none begins before the end of the one before."""
        return self._detours

    @detours.setter
    def detours(self, detours: Iterable[Detour]) -> None:
        self._detours = tuple(detours)
        self._starts = [detour.start for detour in self._detours]

    def at(self, position: int) -> Shown:
        """What a position shows."""
        if not self._starts or position < self._starts[0]:
            return Shown(IDLE, self._clips[IDLE](position))
        number = bisect_right(self._starts, position) - 1
        detour = self._detours[number]
        if not detour.covers(position):
            return Shown(IDLE, self._clips[IDLE](position + detour.idle_shift))
        frame = self._clips[detour.motion](detour.step(position))
        rising = position - detour.start
        if rising < detour.fade_in:
            shift = self._detours[number - 1].idle_shift if number else 0
            idle, share = self._clips[IDLE](position + shift), (rising + 1) / (detour.fade_in + 1)
            return _blended(detour.motion, frame, idle, share)
        if detour.end is not None and position >= detour.end - detour.fade_out:
            falling = detour.end - position
            idle = self._clips[IDLE](position + detour.idle_shift)
            return _blended(detour.motion, frame, idle, falling / (detour.fade_out + 1))
        return Shown(detour.motion, frame)

    def motion(self, position: int) -> Detour | None:
        """The motion that is seen at a position, if any."""
        number = bisect_right(self._starts, position) - 1
        return self._detours[number] if number >= 0 and self._detours[number].covers(position) else None

    def shift(self, position: int) -> int:
        """What is added to a position to get idle's own, where idle is shown, or was shown last."""
        number = bisect_right(self._starts, position) - 1
        if number >= 0 and self._detours[number].covers(position):
            number -= 1
        return self._detours[number].idle_shift if number >= 0 else 0

    def nearest_equal(self, position: int, target: int, period: int) -> int:
        """The position nearest to `target` from which the same idle frame goes on the same way as from `position`.

        `period` is that of idle's own path. The position itself where it shows a motion, or is near already.
        """
        if abs(target - position) <= period // 2 or self.motion(position) is not None:
            return position
        own = position + self.shift(position)
        found = [position]
        for start, end, shift in self._idle_stretches():
            wanted = target if end is None else min(target, end - 1)
            wanted = wanted if start is None else max(wanted, start)
            near = wanted + (own - shift - wanted) % period
            found += [each for each in (near, near - period) if _within(each, start, end)]
        return min(found, key=lambda each: (abs(target - each), each))

    def forget_before(self, position: int) -> None:
        """Drops the detours that were over before a position, but for the last one of them."""
        over = [d for d in self._detours if d.end is not None and d.end < position]
        if len(over) > 1:
            self.detours = self._detours[len(over) - 1 :]

    def to_json(self) -> list[dict[str, Any]]:
        """The detours as JSON can hold them."""
        return [asdict(detour) for detour in self._detours]

    @staticmethod
    def detours_from_json(values: list[dict[str, Any]]) -> tuple[Detour, ...]:
        """The inverse of `to_json`."""
        return tuple(Detour(**{**each, "priority": Priority(each["priority"])}) for each in values)

    def _idle_stretches(self) -> list[tuple[int | None, int | None, int]]:
        """Where idle is shown: its first position, the one behind its last, and the shift; None is endless."""
        stretches: list[tuple[int | None, int | None, int]] = []
        start, shift = None, 0
        for detour in self._detours:
            if start is None or detour.start > start:
                stretches.append((start, detour.start, shift))
            if detour.end is None:
                return stretches
            start, shift = detour.end, detour.idle_shift
        return [*stretches, (start, None, shift)]


def _blended(motion: str, frame: int, idle: int, share: float) -> Shown:
    if share >= 0.5:
        return Shown(motion, frame, IDLE, idle, 1 - share)
    return Shown(IDLE, idle, motion, frame, share)


def _within(position: int, start: int | None, end: int | None) -> bool:
    return (start is None or position >= start) and (end is None or position < end)
