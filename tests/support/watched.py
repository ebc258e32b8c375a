"""A running channel whose events are collected, and what tests say on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentsync.avatar import PreparedAvatar
from streaming.config import FRAME_SAMPLES, ChannelConfig
from streaming.events import ChannelEvent, PublisherState, Status
from streaming.handle import ChannelHandle
from tests.support.grey_avatar import RESOLUTION
from tests.support.processes import descendants


class Watched:
    """A channel whose events are collected."""

    def __init__(self, channel: ChannelHandle) -> None:
        self.channel = channel
        self.events: list[ChannelEvent] = []
        self._changed = asyncio.Condition()
        self._task = asyncio.create_task(self._collect())

    async def _collect(self) -> None:
        async for event in self.channel.events():
            async with self._changed:
                self.events.append(event)
                self._changed.notify_all()

    async def until(self, condition: Callable[[ChannelEvent], bool]) -> ChannelEvent:
        """The next event from now on for which the condition holds."""
        return await asyncio.wait_for(self._next(condition), 30)

    async def _next(self, condition: Callable[[ChannelEvent], bool]) -> ChannelEvent:
        seen = len(self.events)
        async with self._changed:
            while True:
                for event in self.events[seen:]:
                    if condition(event):
                        return event
                seen = len(self.events)
                await self._changed.wait()

    async def close(self) -> None:
        await self.channel.aclose()
        await self._task


@contextlib.asynccontextmanager
async def running(avatar: PreparedAvatar, folder: Path, **settings: Any) -> AsyncIterator[Watched]:
    config = ChannelConfig(
        **{
            "id": "c", "avatar_dir": str(avatar.directory), "preview_socket": str(folder / "preview.sock"),
            "log_dir": str(folder), "video_bitrate_kbps": 800, "test_pattern": True, **settings,
        }
    )  # fmt: skip
    watched = Watched(await ChannelHandle.start(config))
    try:
        yield watched
    finally:
        await watched.close()


def is_state(state: PublisherState) -> Callable[[ChannelEvent], bool]:
    return lambda event: isinstance(event, Status) and event.publisher is state


def is_kind(kind: type) -> Callable[[ChannelEvent], bool]:
    return lambda event: isinstance(event, kind)


def speech(frames: int) -> tuple[NDArray[Any], NDArray[Any]]:
    return (
        np.full((frames, RESOLUTION, RESOLUTION, 3), 250, np.uint8),
        np.full((frames, FRAME_SAMPLES), 700, np.int16),
    )


async def say(channel: ChannelHandle, speech_id: str, frames: int, lead_s: float = 0.2) -> int:
    start = (await channel.open(speech_id, frames, lead_s)).position
    for first in range(0, frames, 16):
        await channel.write(speech_id, first, *speech(min(16, frames - first)))
    await channel.end(speech_id)
    return start


def encoder_of(channel: ChannelHandle) -> int:
    """Process id of the channel's encoder."""
    (pid,) = children(channel, b"streaming.encoder_process")
    return pid


def children(channel: ChannelHandle, argument: bytes) -> list[int]:
    """Process ids of the channel's children that have an argument."""
    return sorted(pid for pid, line in descendants(channel.pid).items() if argument.decode() in line.split())
