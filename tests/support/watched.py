"""A running channel whose events are collected, and what tests say on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latentsync.avatar import PreparedAvatar
from streaming.config import FRAME_SAMPLES, ChannelConfig
from streaming.events import ChannelEvent, PublisherState, Status
from streaming.handle import ChannelHandle
from tests.support.grey_avatar import RESOLUTION
from tests.support.processes import descendants

_LIMIT_S = 60.0
"""Turns a hang into a failure; nothing takes so long, also on a busy machine."""


class Watched:
    """A channel whose events are collected."""

    def __init__(self, channel: ChannelHandle) -> None:
        self.channel = channel
        self.events: list[ChannelEvent] = []
        self._found = 0  # events up to the one that was waited for last
        self._changed = asyncio.Condition()
        self._task = asyncio.create_task(self._collect())

    async def _collect(self) -> None:
        async for event in self.channel.events():
            async with self._changed:
                self.events.append(event)
                self._changed.notify_all()

    async def until(self, condition: Callable[[ChannelEvent], bool]) -> ChannelEvent:
        """The first event for which the condition holds, behind the one that was waited for last.

        It may have come already: on a busy machine it comes together with the answer to what caused it.
        """
        return await asyncio.wait_for(self._next(condition, self._found), _LIMIT_S)

    async def next_status(self) -> Status:
        """The first one that comes from now on."""
        seen = len(self.events)
        async with self._changed:
            while True:
                if statuses := [event for event in self.events[seen:] if isinstance(event, Status)]:
                    return statuses[0]
                await self._changed.wait()

    async def between_flashes(self) -> None:
        """Waits until the last flash and beep of the test pattern are half a second old; a status comes with each."""
        await self.next_status()
        await asyncio.sleep(0.5)

    def skip_where_pictures_were_left_out(self) -> None:
        """Ends a test that counts pictures where the machine was too busy to encode all of them.

        What is promised then is another matter (test_slow_encoder.py).
        """
        statuses = [event for event in self.events if isinstance(event, Status)]
        if any(status.encoder_steps_down or status.dropped_pairs for status in statuses):
            pytest.skip(f"the machine is too busy: the encoder was relieved ({statuses[-1].encoder_step})")

    async def _next(self, condition: Callable[[ChannelEvent], bool], seen: int) -> ChannelEvent:
        async with self._changed:
            while True:
                for place, event in enumerate(self.events[seen:], seen + 1):
                    if condition(event):
                        self._found = max(self._found, place)
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
