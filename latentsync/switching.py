"""Where a channel's path turns into a motion and back: where frames look alike, over a crossfade that fits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latentsync.clip_path import ClipPath, Detour, FrameIndex, Priority

DEFAULT_BOUND = 25
"""Frames by which a switch may come later than it could, for a better match: one second."""
_EDGE = 12
"""Frames at either end of a motion in which it may be entered or left."""
_SAMPLES = (0, 3, 6)
"""Frames behind a switch at which both clips are compared: both go on during the crossfade."""
_FADES = (1, 12)
_MOST_WAITING = 4
_LATENESS = 0.05
"""Of an ordinary step: what each frame of waiting costs. A second's wait must be worth two frames of the crossfade."""


class MotionRefused(ValueError):
    """A motion can't be shown; the message says why."""


@dataclass(frozen=True)
class MotionClip:
    """What planning needs of a motion.

    `difference` [I, M] says how much idle frame i and motion frame m differ, in grey levels, and `ordinary` how much
    neighbouring frames of the clips do. Once through is `once` steps.
    """

    frame_index: FrameIndex
    once: int
    difference: NDArray[np.float32]
    ordinary: float


class SwitchPlanner:
    """Decides the detours of a path. Pure: what it decides follows from the path and the request alone."""

    def __init__(
        self, path: ClipPath, idle: FrameIndex, period: int, motions: Mapping[str, MotionClip], least_fade: int = 1
    ) -> None:
        """`idle` gives the idle clip's frame at a position of its own path, which repeats after `period`.

        `least_fade` is for an avatar whose idle pictures are not those that were compared.
        """
        self.path = path
        self._idle = idle
        self._period = period
        self._motions = motions
        self._least_fade = least_fade
        self._idle_frames = np.array([idle(position) for position in range(period)], dtype=np.int64)

    def play(
        self,
        name: str,
        earliest: int,
        repeat: int | None = 1,
        priority: Priority = Priority.REQUEST,
        bound: int = DEFAULT_BOUND,
    ) -> Detour:
        """Plans a motion to begin at `earliest` or within `bound` frames behind it, and returns its detour.

        It is shown `repeat` times, or until something ends it (None). A motion of lower priority that plays then is
        left at the first good place; one of the same or a higher one is waited for, but a motion without an end only
        where its priority is higher: then, and where too many wait, MotionRefused is raised.
        """
        motion = self._motions.get(name)
        if motion is None:
            raise MotionRefused(f"there is no motion {name!r}; {named(self._motions)}")
        kept = self._kept(earliest, priority)
        if len([d for d in kept if d.end is None or d.end > earliest]) >= _MOST_WAITING:
            raise MotionRefused(f"{_MOST_WAITING} motions wait already: ask again when one has ended")
        last = kept[-1] if kept else None
        if last is not None and (last.end is None or last.end > earliest):
            if last.priority < priority or (last.priority == priority and last.end is None):
                kept[-1] = last = self._left(last, earliest, bound)
            if last.end is None:
                raise MotionRefused(f"motion {last.motion!r} plays until it is stopped, and has a higher priority")
            earliest = max(earliest, last.end)
        shift = kept[-1].idle_shift if kept else 0
        detour = self._entered(name, motion, earliest, shift, bound, priority)
        if repeat is not None:
            detour = self._ended(detour, motion, repeat)
        self.path.detours = (*kept, detour)
        return detour

    def stop(self, earliest: int, bound: int = DEFAULT_BOUND, priority: Priority = Priority.REQUEST) -> Detour | None:
        """Leaves the motion that plays at `earliest`, and takes back those that would begin later.

        Returns the one that is left, or that ends as soon by itself; None where there is none. Motions of a higher
        priority go on.
        """
        kept = list(self.path.detours)
        while kept and kept[-1].start >= earliest and kept[-1].priority <= priority:
            kept.pop()
        left = None
        if kept and kept[-1].priority <= priority and (kept[-1].end is None or kept[-1].end > earliest):
            left = kept[-1] = self._left(kept[-1], earliest, bound)
        self.path.detours = kept
        return left

    def add(self, name: str, motion: MotionClip) -> None:
        """A motion that can be planned from now on."""
        self._motions = {**self._motions, name: motion}

    def remove(self, name: str, earliest: int, bound: int = DEFAULT_BOUND) -> None:
        """Leaves a motion at `earliest`, takes it back where it would begin later, and plans it no more.

        Other motions stay where they are. Raises MotionRefused for a name that isn't known.
        """
        if name not in self._motions:
            raise MotionRefused(f"there is no motion {name!r}; {named(self._motions)}")
        kept = [detour for detour in self.path.detours if detour.motion != name or detour.start < earliest]
        self.path.detours = [
            self._left(detour, earliest, bound)
            if detour.motion == name and (detour.end is None or detour.end > earliest)
            else detour
            for detour in kept
        ]
        self._motions = {known: motion for known, motion in self._motions.items() if known != name}

    def _kept(self, earliest: int, priority: Priority) -> list[Detour]:
        """The detours without those at their end that haven't begun and have to give way."""
        kept = list(self.path.detours)
        while kept and kept[-1].start >= earliest and kept[-1].priority < priority:
            kept.pop()
        return kept

    def _entered(
        self, name: str, motion: MotionClip, earliest: int, shift: int, bound: int, priority: Priority
    ) -> Detour:
        positions = np.arange(earliest, earliest + bound + 1)
        entries = np.arange(min(_EDGE, max(1, motion.once // 3)))
        cost = self._cost(motion, positions + shift, entries)
        cost = cost + _LATENESS * motion.ordinary * np.arange(len(positions))[:, None]
        place, entry = np.unravel_index(int(np.argmin(cost)), cost.shape)
        fade = self._fade(float(cost[place, entry]), motion)
        return Detour(name, int(positions[place]), None, int(entries[entry]), fade, 0, shift, priority)

    def _ended(self, detour: Detour, motion: MotionClip, repeat: int) -> Detour:
        """With the end after so many times through."""
        steps = repeat * (motion.once - 1) + 1
        edge = min(_EDGE, max(1, motion.once // 3))
        first = max(detour.entry + detour.fade_in, steps - edge)
        return self._with_end(detour, motion, np.arange(first, max(first + 1, steps)))

    def _left(self, detour: Detour, earliest: int, bound: int) -> Detour:
        """Left before its end, from `earliest` on."""
        if detour.end is not None and detour.end - detour.fade_out <= earliest + bound:
            return detour  # it ends as soon by itself
        motion = self._motions[detour.motion]
        first = max(detour.step(earliest), detour.entry + detour.fade_in)
        return self._with_end(detour, motion, np.arange(first, first + bound + 1))

    def _with_end(self, detour: Detour, motion: MotionClip, steps: NDArray[np.int64]) -> Detour:
        cost = self._cost(motion, np.arange(self._period), steps)
        cost = cost + _LATENESS * motion.ordinary * np.arange(len(steps))[None, :]
        idle, step = np.unravel_index(int(np.argmin(cost)), cost.shape)
        fade = self._fade(float(cost[idle, step]), motion)
        begins = detour.start + int(steps[step]) - detour.entry
        # Idle's own position `idle` belongs to the first position of the crossfade.
        return replace(detour, end=begins + fade, fade_out=fade, idle_shift=int(idle) - begins)

    def _cost(self, motion: MotionClip, idle: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """How much they differ [idle positions, steps], behind the switch too."""
        total = np.zeros((len(idle), len(steps)))
        for ahead in _SAMPLES:
            frames = np.array([motion.frame_index(int(step) + ahead) for step in steps])
            total += motion.difference[np.ix_(self._idle_frames[(idle + ahead) % self._period], frames)]
        return total / len(_SAMPLES)

    def _fade(self, difference: float, motion: MotionClip) -> int:
        """Frames of the crossfade: each may add half an ordinary step to what moves anyway."""
        low, high = _FADES
        wanted = math.ceil(2 * difference / max(motion.ordinary, 1e-3)) - 1
        return max(self._least_fade, min(high, max(low, wanted)))


def named(names: Mapping[str, object]) -> str:
    """Which motions there are, as the end of a sentence about one that there is not."""
    return f"there is {', '.join(sorted(names))}" if names else "the avatar has none"
