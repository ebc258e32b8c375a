"""What a running channel does with motions that are added to its avatar, renamed or removed meanwhile."""

from __future__ import annotations

import asyncio
import logging

import anyio

from latentsync.avatar import AvatarError, AvatarSettings, PreparedAvatar
from latentsync.avatar_files import SETTINGS_FILE
from latentsync.motions import MOTIONS_FOLDER, Motion, motion_names
from orchestrator.channels.shared_path import SharedPath
from streaming.handle import ChannelError

_EVERY_S = 1.0

logger = logging.getLogger(__name__)

Folders = dict[str, int]
"""The inodes of the motions' folders by their names: a motion that was made anew has another one."""


class MotionFolder:
    """Brings a channel's path up to what lies in its avatar's folder, whoever has changed it.

    A folder appears complete, and the channel has mapped what it shows: files can go at any time.
    """

    def __init__(self, avatar: PreparedAvatar, path: SharedPath, channel: str) -> None:
        """Reads the folder, of which the path has all that can be played. Blocks on the disk."""
        self._avatar = avatar
        self._path = path
        self._channel = channel
        self._known = self._folders()
        self._refused: dict[str, str] = {}  # why a motion isn't there yet, so that it is logged once

    async def follow(self) -> None:
        """Look each second, until cancelled."""
        while True:
            await anyio.sleep(_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Tell the channel of what has changed since the last time; what fails now is tried again."""
        folders = await asyncio.to_thread(self._folders)
        if folders == self._known or not await asyncio.to_thread(self._is_that_avatar):
            return
        for name, inode in list(self._known.items()):
            if folders.get(name) != inode and await self._removed(name):
                del self._known[name]
        for name, inode in folders.items():
            if name not in self._known and await self._added(name):
                self._known[name] = inode

    async def _removed(self, name: str) -> bool:
        if name not in self._path.names:
            return True  # it could not be played
        try:
            await self._path.remove(name)
        except ChannelError as error:
            logger.warning("channel %s still has the motion %s: %s", self._channel, name, error)
            return False
        logger.info("channel %s has no motion %s any more", self._channel, name)
        return True

    async def _added(self, name: str) -> bool:
        try:
            motion = await asyncio.to_thread(self._opened, name)
        except AvatarError as error:
            logger.error("motion %s of channel %s is left out: %s", name, self._channel, error)
            return True
        try:
            await self._path.add(name, motion)
        except ChannelError as error:
            if self._refused.get(name) != str(error):
                self._refused[name] = str(error)
                logger.warning("channel %s hasn't the motion %s yet: %s", self._channel, name, error)
            return False
        self._refused.pop(name, None)
        logger.info("channel %s has the motion %s", self._channel, name)
        return True

    def _opened(self, name: str) -> Motion:
        return Motion.open(self._avatar, name).with_own_condition()

    def _folders(self) -> Folders:
        found: Folders = {}
        for name in motion_names(self._avatar.directory):
            try:
                found[name] = (self._avatar.directory / MOTIONS_FOLDER / name).stat().st_ino
            except OSError:
                continue  # removed between the two
        return found

    def _is_that_avatar(self) -> bool:
        """False where another video has replaced it, which the channel plays from its next start on."""
        try:
            settings = AvatarSettings.read(self._avatar.directory / SETTINGS_FILE)
        except AvatarError:
            return False
        return settings.source_sha256 == self._avatar.settings.source_sha256
