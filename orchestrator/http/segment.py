"""One segment of a socket for live speech: what the client sends of it, on its way to its task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio

from orchestrator.http.live_speech import LiveSpeech
from orchestrator.tasks.task import Failure
from speech.audio.live_source import LiveSource

_WAITING_MESSAGES = 2  # more would only hide from the client that the server doesn't keep up

LOST = Failure("source_lost", "The connection that sent the speech was lost before its end.")


class Segment:
    """Holds a few messages with sound or text; `put` waits while there is no room for more."""

    def __init__(
        self,
        speech: LiveSpeech,
        source: LiveSource,
        idle_limit_s: float,
        of_text: bool = False,
        bounded: bool = True,
    ) -> None:
        """Where it is not `bounded`, the log takes all that comes at once, and `put` never waits for the speech."""
        self.speech = speech
        self.of_text = of_text
        self.received = asyncio.Event()
        """All that comes of it is in its task's log."""
        self.started = False
        self.told = False
        """Whether the client knows already why the segment failed."""
        self.position = -1
        self._source = source
        self._idle_limit_s = idle_limit_s
        self._bounded = bounded
        self._fault: Failure | None = None
        self._put, self._taken = anyio.create_memory_object_stream[bytes](_WAITING_MESSAGES)

    async def put(self, sound: bytes) -> None:
        """Hand over a message; ignored where the segment takes no more."""
        try:
            await self._put.send(sound)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    def end(self, fault: Failure | None = None) -> None:
        """Nothing more comes, by a `fault` or because that is all; what came goes on its way."""
        self._fault = self._fault or fault
        self._put.close()

    async def receive(self) -> Failure | None:
        """Bring all of it into its task's log; returns why it broke off, or None."""
        frames = self._source.frames(self._blocks())
        try:
            return await self.speech.receive(frames, lambda: self._fault, self._bounded)
        finally:
            self._put.close()
            self._taken.close()
            await frames.aclose()
            self.received.set()

    async def _blocks(self) -> AsyncIterator[bytes]:
        """The messages. An end by a fault is an end: what came before it is to be heard whole."""
        while True:
            try:
                async with asyncio.timeout(self._idle_limit_s):
                    block = await self._taken.receive()
            except TimeoutError:
                message = f"Nothing came for {self._idle_limit_s:g} s. End a segment that pauses, and begin another."
                self.end(Failure("source_idle", message))
                return
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                return
            yield block
