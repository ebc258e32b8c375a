"""Typed conversations: by OpenAI's Realtime, and by the socket that it is compared with. They are told words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from bench.agents.doors.door import Line, Playback, listening
from bench.agents.server import AgentsServer
from bench.agents.tones import Sound


class RealtimeDoor:
    """`/v1/realtime`, by the client of the package `openai`."""

    name = "Realtime"
    of_text = True
    overtakes = False

    @asynccontextmanager
    async def line(self, server: AgentsServer, channel_id: str) -> AsyncIterator[Line]:
        """A conversation of its own."""
        import openai

        async with (
            openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
            client.realtime.connect(model=channel_id) as connection,
        ):
            line = _RealtimeLine(connection, channel_id)
            async with listening(line.listen()):
                yield line
        await _over(server, channel_id)


class _RealtimeLine(Line):
    def __init__(self, connection: Any, channel_id: str) -> None:
        super().__init__()
        self.channel_id = channel_id
        self._connection = connection

    async def listen(self) -> None:
        async for event in self._connection:
            if event.type == "error":
                self._fail(str(event))
            if event.type == "response.output_audio.delta" and len(self.started) <= len(self.playbacks):
                self._note_started()
            elif event.type == "response.done":
                self._note(Playback(None, event.response.status == "cancelled"))

    async def _say(self, sound: Sound, pace: float | None) -> None:
        content = [{"type": "input_text", "text": f"Say {sound.text}"}]
        item = {"type": "message", "role": "user", "content": content}
        await self._connection.conversation.item.create(item=item)
        await self._connection.response.create()
        self._note_sent()

    async def interrupt(self) -> None:
        await self._connection.response.cancel()

    async def die(self) -> None:
        self._connection._connection.transport.abort()


class ConversationDoor:
    """`/v1/channels/{id}/conversation`."""

    name = "conversation's socket"
    of_text = True
    overtakes = False

    @asynccontextmanager
    async def line(self, server: AgentsServer, channel_id: str) -> AsyncIterator[Line]:
        """A conversation of its own."""
        async with connect(f"{server.url.replace('http', 'ws', 1)}{_path(channel_id)}") as socket:
            await socket.send(json.dumps({"type": "start", "format": "text"}))
            line = _ConversationLine(socket, channel_id)
            async with listening(line.listen()):
                yield line
        await _over(server, channel_id)


class _ConversationLine(Line):
    def __init__(self, socket: ClientConnection, channel_id: str) -> None:
        super().__init__()
        self.channel_id = channel_id
        self._socket = socket

    async def listen(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if message["type"] == "error":
                self._fail(str(message))
            if message["type"] == "state" and message["state"] == "speaking":
                self._note_started()
            elif message["type"] == "heard":
                self._note(Playback(None, interrupted=False))

    async def _say(self, sound: Sound, pace: float | None) -> None:
        await self._socket.send(json.dumps({"type": "text", "text": f"Say {sound.text}"}))
        self._note_sent()

    async def interrupt(self) -> None:
        await self._socket.send(json.dumps({"type": "interrupt"}))

    async def die(self) -> None:
        self._socket.transport.abort()


def _path(channel_id: str) -> str:
    return f"/v1/channels/{channel_id}/conversation"


async def _over(server: AgentsServer, channel_id: str) -> None:
    """Wait until nobody holds a conversation there: one is held at a time."""
    while server.orchestrator.conversations.is_running(channel_id):  # noqa: ASYNC110 - it ends by itself
        await asyncio.sleep(0.02)
