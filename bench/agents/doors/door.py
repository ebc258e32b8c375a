"""What the doors have in common: a line that says segments, and is told how each was played."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from bench.agents.server import AgentsServer
from bench.agents.tones import Sound

RATE_HZ = 24_000
"""Of the sound that is sent."""
_BLOCK_S = 0.1
_SAMPLE_BYTES = 2


class LineLost(RuntimeError):
    """What should have been told wasn't, in the time that was given, or the server refused it."""


@dataclass(frozen=True)
class Playback:
    """How a segment ended as its client was told; `heard_s` is None where this door's clients are told no position."""

    heard_s: float | None
    interrupted: bool


@asynccontextmanager
async def listening(listen: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Lets a line hear what it is told, until the block ends."""
    task = asyncio.create_task(listen)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Line(ABC):
    """A client's connection. `started` and `playbacks` grow as it is told; times are by the monotonic clock."""

    channel_id: str
    outlives = False
    """Whether its client is still there after `die`, and told of what was lost."""

    def __init__(self) -> None:
        self.sent = 0
        """Segments that were begun."""
        self.started: list[float] = []
        self.playbacks: list[Playback] = []
        self._fault: str | None = None
        self._news = asyncio.Event()
        self._hushed = asyncio.Event()

    async def say(self, *sounds: Sound, pace: float | None = None) -> None:
        """Send segments one behind another, `pace` times as fast as real time, None for at once.

        Once it is hushed it sends no more, and an open segment stays open.
        """
        self._hushed.clear()
        for sound in sounds:
            if not self._hushed.is_set():
                await self._say(sound, pace)

    def hush(self) -> None:
        """Send no more of what is being sent."""
        self._hushed.set()

    @abstractmethod
    async def interrupt(self) -> None:
        """Cut short what is said, and what an open segment still had to bring."""

    @abstractmethod
    async def die(self) -> None:
        """Go away as a process that is killed does."""

    async def until(self, count: int, limit_s: float = 30.0) -> None:
        """Wait for so many playbacks; raises LineLost."""
        await self._until(lambda: len(self.playbacks) >= count, limit_s)

    async def until_started(self, count: int, limit_s: float = 30.0) -> None:
        """Wait for so many beginnings; raises LineLost."""
        await self._until(lambda: len(self.started) >= count, limit_s)

    async def until_sent(self, count: int, limit_s: float = 30.0) -> None:
        """Wait until so many segments were begun; raises LineLost."""
        await self._until(lambda: self.sent >= count, limit_s)

    @abstractmethod
    async def _say(self, sound: Sound, pace: float | None) -> None: ...

    def _note_sent(self) -> None:
        self.sent += 1
        self._news.set()

    def _note_started(self) -> None:
        self.started.append(time.monotonic())
        self._news.set()

    def _note(self, playback: Playback) -> None:
        self.playbacks.append(playback)
        self._news.set()

    def _fail(self, fault: str) -> None:
        self._fault = fault
        self._news.set()

    async def _until(self, reached: Callable[[], bool], limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                while not reached():
                    if self._fault is not None:
                        raise LineLost(self._fault)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            told = f"{self.sent} segments, {len(self.started)} beginnings and {len(self.playbacks)} ends"
            raise LineLost(f"{type(self).__name__}: {told} within {limit_s:g} s") from None


class SoundLine(Line):
    """One whose client sends sound in blocks."""

    @abstractmethod
    async def _open(self) -> None:
        """Begin a segment, where that isn't done by its first block."""

    @abstractmethod
    async def _put(self, block: bytes) -> None:
        """Send the next block."""

    @abstractmethod
    async def _close(self) -> None:
        """End the segment."""

    async def _say(self, sound: Sound, pace: float | None) -> None:
        pcm, size = sound.pcm(RATE_HZ), round(_BLOCK_S * RATE_HZ) * _SAMPLE_BYTES
        began = time.monotonic()
        await self._open()
        for number, first in enumerate(range(0, len(pcm), size)):
            if pace is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(
                        self._hushed.wait(), max(0.0, began + number * _BLOCK_S / pace - time.monotonic())
                    )
            if self._hushed.is_set() and number:
                return
            await self._put(pcm[first : first + size])
            if not number:
                self._note_sent()
        await self._close()


class Door(Protocol):
    """A way to speak.

    `of_text` says that its clients send texts, and `overtakes` that an interruption overtakes the sound before it.
    """

    name: str
    of_text: bool
    overtakes: bool

    def line(self, server: AgentsServer, channel_id: str) -> AbstractAsyncContextManager[Line]:
        """A new connection; to this channel, unless the line gets one of its own."""
        ...
