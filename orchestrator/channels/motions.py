"""The motions of one channel: asked for, scheduled while it is idle, held for a conversation's state; and told of."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import count

import anyio
from anyio.abc import TaskGroup
from typing_extensions import TypedDict

from latentsync.avatar import AvatarError, PreparedAvatar
from latentsync.clip_path import Priority
from latentsync.motions import open_motions
from orchestrator.background import keep_running
from orchestrator.channels.definition import ChannelDefinition
from orchestrator.channels.motion_folder import MotionFolder
from orchestrator.channels.shared_path import SharedPath
from orchestrator.observability.notices import Broadcast
from streaming.config import FPS
from streaming.events import MotionEnded, MotionStarted
from streaming.handle import ChannelError, ChannelHandle, PlannedMotion

_SPREAD = (0.5, 1.5)
"""Shares of the mean time between two motions of the schedule."""

logger = logging.getLogger(__name__)


class UnknownMotion(ChannelError):
    """The channel's avatar has no motion of that name."""


class MotionState(StrEnum):
    """What becomes of a motion that was asked for."""

    PLANNED = "planned"
    PLAYING = "playing"
    ENDED = "ended"
    SKIPPED = "skipped"


class MotionJson(TypedDict):
    """A motion of a channel as events tell it; `starts_in_s` and `reason` where they are known."""

    channel: str
    motion: str
    state: MotionState
    starts_in_s: float | None
    reason: str | None


@dataclass(frozen=True)
class MotionNotice:
    """Something happened to a motion; each has a number of its own, so that no listener misses one."""

    number: int
    channel: str
    motion: str
    state: MotionState
    starts_in_s: float | None = None
    reason: str | None = None

    @property
    def kind(self) -> str:
        """The kind of its notices."""
        return "motion"

    @property
    def id(self) -> str:
        """Unlike that of every other one."""
        return f"{self.channel}-{self.number}"

    def as_json(self) -> MotionJson:
        """As events show it."""
        return {
            "channel": self.channel,
            "motion": self.motion,
            "state": self.state,
            "starts_in_s": self.starts_in_s,
            "reason": self.reason,
        }


class Motions:
    """What a channel knows of its motions, beyond its process, which may be another one tomorrow."""

    def __init__(self, channel: str, notices: Broadcast, definition: Callable[[], ChannelDefinition]) -> None:
        self.playing: str | None = None
        self._channel = channel
        self._notices = notices
        self._definition = definition
        self._path: SharedPath | None = None
        self._folder: MotionFolder | None = None
        self._numbers = count()
        self._random = random.Random(channel)
        self._held: str | None = None
        self._state: str | None = None
        self._state_changed = asyncio.Event()

    @property
    def names(self) -> tuple[str, ...]:
        """The motions that can be asked for."""
        return () if self._path is None else self._path.names

    def prepare(self, avatar: PreparedAvatar) -> SharedPath:
        """The path for a process that is about to start. Blocks on the disk."""
        motions = {}
        for name, motion in open_motions(avatar).items():
            try:
                motions[name] = motion.with_own_condition()
            except AvatarError as error:
                logger.error("motion %s of channel %s is left out: %s", name, self._channel, error)
        self.playing = None
        self._path = path = SharedPath(avatar, motions, self.skipped)
        self._folder = MotionFolder(avatar, path, self._channel)
        return path

    def attach(self, process: ChannelHandle) -> None:
        """The process has started."""
        if self._path is not None:
            self._path.attach(process)

    def close(self) -> None:
        """The channel has ended: the motions' conditions are let go."""
        self._path = self._folder = None

    def release(self) -> None:
        """No speech is made or played any more."""
        if self._path is not None:
            self._path.release()

    async def play(
        self,
        name: str,
        repeat: int | None = 1,
        delay_s: float = 0.0,
        priority: Priority = Priority.REQUEST,
    ) -> PlannedMotion:
        """Shows a motion, at the earliest in `delay_s`; raises UnknownMotion, ChannelError where it can't be now."""
        path = self._path
        if path is None or name not in path.names:
            there = f"there is {', '.join(self.names)}" if self.names else "it has none"
            raise UnknownMotion(f"the avatar of channel {self._channel} has no motion {name[:64]!r}; {there}")
        planned = await path.play(name, repeat, priority, delay_frames=round(delay_s * FPS))
        self._tell(name, MotionState.PLANNED, starts_in_s=(planned.position - planned.now) / FPS)
        return planned

    async def stop(self) -> int | None:
        """Leaves the motion that plays; frames until it is over, None where none plays. Raises ChannelError."""
        self._held = None
        return None if self._path is None else await self._path.stop()

    def follow(self, state: str | None) -> None:
        """A conversation is in this state now, None after its end: its motion is held until the next one.

        `interrupted` changes nothing: it isn't known yet whether the person said anything.
        """
        if state != "interrupted":
            self._state = state
            self._state_changed.set()

    async def note(self, event: MotionStarted | MotionEnded) -> None:
        """What the process has told."""
        if isinstance(event, MotionStarted):
            self.playing = event.motion
            self._tell(event.motion, MotionState.PLAYING)
            return
        self.playing = None
        self._tell(event.motion, MotionState.ENDED)
        if self._held is not None and self._path is not None and not self._path.is_held:
            await self._hold()  # a request has cut the state's motion short, which goes on behind it

    def skipped(self, name: str, reason: str) -> None:
        """A cue or a mark that can't be shown."""
        self._tell(name, MotionState.SKIPPED, reason=reason)

    def unknown_mark(self, name: str) -> None:
        """A text has a mark that names no motion of this avatar: it is not said, and told."""
        logger.warning("channel %s: a text names the motion %s, which there is not", self._channel, name)
        self.skipped(name, f"there is no motion {name!r}; there is {', '.join(self.names)}")

    def start(self, group: TaskGroup, idle: Callable[[], bool]) -> None:
        """Follows a conversation's states, shows scheduled motions while `idle`, and takes note of new motions.

        A state's motion that the process before has shown is shown again.
        """
        if self._folder is not None:
            self._held = None
            self._state_changed.set()
            group.start_soon(keep_running, f"the motions of states of {self._channel}", self._follow_states)
            group.start_soon(keep_running, f"the schedule of motions of {self._channel}", partial(self._schedule, idle))
            group.start_soon(keep_running, f"the folder of motions of {self._channel}", self._folder.follow)

    async def _schedule(self, idle: Callable[[], bool]) -> None:
        while True:
            definition = self._definition()
            await anyio.sleep(definition.idle_motions_every_s * self._random.uniform(*_SPREAD))
            names = [name for name in definition.idle_motions if name in self.names]
            if not names or not idle() or self.playing is not None or self._held is not None:
                continue
            try:
                await self.play(self._random.choice(names), priority=Priority.SCHEDULE)
            except ChannelError as error:
                logger.warning("channel %s shows no motion now: %s", self._channel, error)

    async def _follow_states(self) -> None:
        while True:
            await self._state_changed.wait()
            self._state_changed.clear()
            name = None if self._state is None else self._definition().motion_for_state(self._state)
            name = name if name in self.names else None
            if name != self._held:
                self._held = name
                await self._hold()

    async def _hold(self) -> None:
        assert self._path is not None
        try:
            if self._held is None:
                await self._path.stop(Priority.STATE)
            else:
                await self.play(self._held, repeat=None, priority=Priority.STATE)
        except ChannelError as error:
            logger.warning("channel %s doesn't show the motion of a state: %s", self._channel, error)

    def _tell(self, name: str, state: MotionState, starts_in_s: float | None = None, reason: str | None = None) -> None:
        self._notices.send(MotionNotice(next(self._numbers), self._channel, name, state, starts_in_s, reason))
