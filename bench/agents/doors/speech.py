"""The plain socket for live speech, for sound and for text: what all doors are compared with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect

from bench.agents.doors.door import RATE_HZ, Line, Playback, SoundLine, listening
from bench.agents.server import AgentsServer
from bench.agents.tones import Sound


class SpeechDoor:
    """`/v1/channels/{id}/speech`."""

    overtakes = False

    def __init__(self, of_text: bool = False) -> None:
        self.name = "text over the plain socket" if of_text else "plain socket"
        self.of_text = of_text

    @asynccontextmanager
    async def line(self, server: AgentsServer, channel_id: str) -> AsyncIterator[Line]:
        """A connection to this channel."""
        url = f"{server.url.replace('http', 'ws', 1)}/v1/channels/{channel_id}/speech"
        async with connect(url) as socket:
            line = _SpeechLine(socket, channel_id, self.of_text)
            async with listening(line.listen()):
                yield line


class _SpeechLine(SoundLine):
    def __init__(self, socket: ClientConnection, channel_id: str, of_text: bool) -> None:
        super().__init__()
        self.channel_id = channel_id
        self._socket = socket
        self._of_text = of_text
        self._rate_hz = RATE_HZ

    async def listen(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if message["type"] == "accepted":
                self._rate_hz = message.get("sample_rate") or RATE_HZ
            elif message["type"] == "started":
                self._note_started()
            elif message["type"] == "ended":
                interrupted = message["reason"] == "interrupted"
                self._note(Playback(message["heard_samples"] / self._rate_hz, interrupted))
            elif message["type"] == "error":
                self._fail(str(message))

    async def _say(self, sound: Sound, pace: float | None) -> None:
        if not self._of_text:
            await super()._say(sound, pace)
            return
        for message in ({"type": "start", "format": "text"}, {"type": "text", "text": sound.text}, {"type": "end"}):
            await self._socket.send(json.dumps(message))
        self._note_sent()

    async def _open(self) -> None:
        await self._socket.send(json.dumps({"type": "start", "sample_rate": RATE_HZ}))

    async def _put(self, block: bytes) -> None:
        await self._socket.send(block)

    async def _close(self) -> None:
        await self._socket.send(json.dumps({"type": "end"}))

    async def interrupt(self) -> None:
        await self._socket.send(json.dumps({"type": "interrupt"}))

    async def die(self) -> None:
        self._socket.transport.abort()
