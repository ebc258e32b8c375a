"""The path of a channel's frames as the server knows it: faces are made for what the channel's process will show."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latentsync.avatar import PreparedAvatar
from latentsync.clip_path import IDLE, Detour, Priority
from latentsync.motions import Motion, clip_path
from latentsync.switching import DEFAULT_BOUND
from streaming.handle import ChannelError, PlannedMotion

RING_WITH_MOTIONS = 40
CHUNKS_WITH_MOTIONS = 2
"""Frames of speech that may be made ahead where a motion may be asked for, and the chunks beyond: it can't come before
they are played."""
_CUE_BOUND = 8
"""Frames by which a cue may come later than the word that it belongs to, for a better match."""

logger = logging.getLogger(__name__)


class MotionPlayer(Protocol):
    """The process that shows motions; `streaming.handle.ChannelHandle` is one."""

    async def play_motion(
        self,
        name: str,
        not_before: int = 0,
        repeat: int | None = 1,
        priority: Priority = Priority.REQUEST,
        delay_frames: int = 0,
        bound: int = DEFAULT_BOUND,
    ) -> PlannedMotion: ...

    async def stop_motion(self, not_before: int = 0, priority: Priority = Priority.REQUEST) -> int | None: ...

    async def add_motion(self, name: str) -> None: ...

    async def remove_motion(self, name: str, not_before: int = 0) -> None: ...

    def follow_path(self, changed: Callable[[tuple[Detour, ...]], None]) -> None: ...


class SharedPath:
    """What positions show, promised to the speech that is generated for them.

    The channel's process decides where a motion begins, never before a position that faces are made for; while it
    decides, no chunk is planned. So both know the same path for every frame that has a face.
    """

    def __init__(
        self,
        avatar: PreparedAvatar,
        motions: dict[str, Motion],
        skipped: Callable[[str, str], None] = lambda name, reason: None,
    ) -> None:
        """`avatar` and the motions have their conditions in memory; `skipped` is told of cues that can't be shown."""
        self.names = tuple(motions)
        self._conditions = {IDLE: avatar.condition, **{name: each.clip.condition for name, each in motions.items()}}
        self._path = clip_path(avatar, motions)
        self._skipped = skipped
        self._player: MotionPlayer | None = None
        self._promised = 0
        self._deciding = asyncio.Lock()

    @property
    def has_motions(self) -> bool:
        """Whether there is any to be asked for."""
        return bool(self.names)

    @property
    def is_held(self) -> bool:
        """Whether the last motion of the path has no end."""
        return bool(self._path.detours) and self._path.detours[-1].end is None

    def attach(self, player: MotionPlayer) -> None:
        """The process that shows the path; it has just begun."""
        self._player = player
        player.follow_path(self._follow)

    def release(self) -> None:
        """No speech is left that faces were made for."""
        self._promised = 0

    async def condition(self, positions: list[int]) -> NDArray[np.float16]:
        """The condition [k, 9, h, w] of what is shown there; from then on that doesn't change.

        In a crossfade it is that of the frame that is seen more.
        """
        async with self._deciding:
            self._promised = max(self._promised, positions[-1] + 1)
            shown = [self._path.at(position) for position in positions]
        return np.stack([self._conditions[each.clip][each.frame] for each in shown])

    async def cue(self, name: str, position: int) -> None:
        """Shows a motion from `position` on or soon after; one that can't be shown is skipped, and told."""
        try:
            await self.play(name, not_before=position, priority=Priority.CUE, bound=_CUE_BOUND)
        except ChannelError as error:
            logger.warning("motion %s is skipped: %s", name, error)
            self._skipped(name, str(error))

    async def play(
        self,
        name: str,
        repeat: int | None = 1,
        priority: Priority = Priority.REQUEST,
        not_before: int = 0,
        delay_frames: int = 0,
        bound: int = DEFAULT_BOUND,
    ) -> PlannedMotion:
        """Shows a motion as soon as it can be: not on frames whose faces are made. Raises ChannelError."""
        async with self._deciding:
            earliest = max(self._promised, not_before)
            return await self._running().play_motion(name, earliest, repeat, priority, delay_frames, bound)

    async def stop(self, priority: Priority = Priority.REQUEST) -> int | None:
        """Leaves the motion that plays; frames until it ends, None where there is none. Raises ChannelError."""
        async with self._deciding:
            return await self._running().stop_motion(self._promised, priority)

    async def add(self, name: str, motion: Motion) -> None:
        """The avatar has another motion, with its condition in memory. Raises ChannelError."""
        async with self._deciding:
            await self._running().add_motion(name)
            self._conditions[name] = motion.clip.condition
            self._path.add(name, motion.clip.frame_index)
            self.names = tuple(sorted({*self.names, name}))

    async def remove(self, name: str) -> None:
        """The avatar hasn't a motion any more: it is left soon where it is shown. Raises ChannelError."""
        async with self._deciding:
            self.names = tuple(each for each in self.names if each != name)
            await self._running().remove_motion(name, self._promised)

    def _running(self) -> MotionPlayer:
        if self._player is None:
            raise ChannelError("the channel is starting: ask again in a moment")
        return self._player

    def _follow(self, detours: tuple[Detour, ...]) -> None:
        self._path.detours = detours
