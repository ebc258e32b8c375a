"""The motions of one channel: decides when each is shown, and notices when it begins and ends."""

from __future__ import annotations

from typing import Any

from latentsync.avatar import PreparedAvatar
from latentsync.clip_path import ClipPath, Priority
from latentsync.motions import Motion, clip_path, open_motions, switch_planner
from latentsync.switching import DEFAULT_BOUND
from streaming.events import ChannelEvent, MotionEnded, MotionStarted, PathChanged

_KEPT = 500
"""Positions behind the present one at which the path is still known: pairs that wait may be made anew."""


class ChannelMotions:
    """The path of a channel and what changes it; `position` is always that of the latest tick."""

    def __init__(self, avatar: PreparedAvatar) -> None:
        """Raises AvatarError for a motion that can't be played."""
        self._avatar = avatar
        self.motions = open_motions(avatar)
        """Also those that were removed: one that is shown is shown to its end."""
        self.path: ClipPath = clip_path(avatar, self.motions)
        self._planner = switch_planner(avatar, self.motions, self.path)
        self._period = avatar.period
        self._playing: str | None = None

    @property
    def playing(self) -> str:
        """The motion of the latest tick, empty for idle."""
        return self._playing or ""

    def nearest_equal(self, position: int, target: int) -> int:
        """The position nearest to `target` that goes on as `position` does."""
        return self.path.nearest_equal(position, target, self._period)

    def play(self, position: int, values: dict[str, Any]) -> dict[str, Any]:
        """Plans a motion; answers where it begins and ends. Raises MotionRefused, a ValueError."""
        detour = self._planner.play(
            values["name"],
            self._earliest(position, values),
            values["repeat"],
            Priority(values["priority"]),
            values.get("bound", DEFAULT_BOUND),
        )
        return {"position": detour.start, "end": detour.end, "now": position}

    def stop(self, position: int, values: dict[str, Any]) -> dict[str, Any]:
        """Leaves the motion that plays, and takes back those that wait; answers where it ends."""
        left = self._planner.stop(self._earliest(position, values), priority=Priority(values["priority"]))
        return {"end": None if left is None else left.end, "now": position}

    def add(self, position: int, values: dict[str, Any]) -> None:
        """A motion that was added to the avatar can be asked for; raises ValueError for one that can't be played."""
        name = values["name"]
        if any(d.motion == name and (d.end is None or d.end > position) for d in self.path.detours):
            raise ValueError(f"another motion {name!r}, which was removed, is still shown")
        motion = Motion.open(self._avatar, name)
        self.motions[name] = motion
        self.path.add(name, motion.clip.frame_index)
        self._planner.add(name, motion.for_planning())

    def remove(self, position: int, values: dict[str, Any]) -> None:
        """A motion can't be asked for any more; where it is shown, it is left at the first good place."""
        self._planner.remove(values["name"], self._earliest(position, values))

    def hasten(self, position: int) -> bool:
        """No speech is left: motions that were planned behind it begin soon, and its own cues are dropped.

        Returns whether anything changed.
        """
        early = [d for d in self.path.detours if d.start <= position + DEFAULT_BOUND]
        late = self.path.detours[len(early) :]
        if not late:
            return False
        self.path.detours = early
        for detour in late:
            if detour.priority is not Priority.CUE:
                once = len(self.motions[detour.motion].clip.played)
                repeat = None if detour.end is None else max(1, round((detour.end - detour.start) / once))
                self._planner.play(detour.motion, position + 1, repeat, detour.priority)
        return True

    def changed(self) -> PathChanged:
        """The path as the orchestrator must know it."""
        return PathChanged(self.path.to_json())

    def note(self, tick: int, position: int) -> list[ChannelEvent]:
        """What began or ended with this tick."""
        detour = self.path.motion(position)
        name = None if detour is None else detour.motion
        if name == self._playing:
            return []
        events: list[ChannelEvent] = []
        if self._playing is not None:
            events.append(MotionEnded(self._playing, tick))
        if name is not None:
            events.append(MotionStarted(name, tick, position))
        self._playing = name
        self.path.forget_before(position - _KEPT)
        return events

    @staticmethod
    def _earliest(position: int, values: dict[str, Any]) -> int:
        return max(position + 1 + int(values.get("delay_frames", 0)), int(values["not_before"]))
