"""LiveAvatar's sessions in their mode LITE."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from bench.agents.doors.door import Line, Playback, SoundLine, listening
from bench.agents.server import AgentsServer


class SessionDoor:
    """`/v1/sessions/token`, `/start` and the socket that they lead to; leaving it ends the session."""

    name = "session"
    of_text = False
    overtakes = True

    @asynccontextmanager
    async def line(self, server: AgentsServer, channel_id: str) -> AsyncIterator[Line]:
        """A session of its own."""
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
            body = {"mode": "LITE", "avatar_id": server.orchestrator.settings.avatar}
            answer = await http.post("/v1/sessions/token", json=body)
            answer.raise_for_status()
            headers = {"Authorization": f"Bearer {answer.json()['data']['session_token']}"}
            answer = await http.post("/v1/sessions/start", headers=headers)
            answer.raise_for_status()
        where: dict[str, Any] = answer.json()["data"]
        async with connect(where["ws_url"]) as socket:
            line = _SessionLine(socket, where["channel"])
            async with listening(line.listen()):
                yield line


class _SessionLine(SoundLine):
    def __init__(self, socket: ClientConnection, channel_id: str) -> None:
        super().__init__()
        self.channel_id = channel_id
        self._socket = socket

    async def listen(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if message["type"] == "agent.speak_started":
                self._note_started()
            elif message["type"] in ("agent.speak_ended", "agent.speak_interrupted"):
                self._note(Playback(message["heard_s"], message["type"] == "agent.speak_interrupted"))
            elif message["type"] == "error":
                self._fail(str(message))

    async def _open(self) -> None:
        return

    async def _put(self, block: bytes) -> None:
        await self._send("agent.speak", audio=base64.b64encode(block).decode())

    async def _close(self) -> None:
        await self._send("agent.speak_end")

    async def interrupt(self) -> None:
        await self._send("agent.interrupt")

    async def die(self) -> None:
        self._socket.transport.abort()

    async def _send(self, kind: str, **values: str) -> None:
        await self._socket.send(json.dumps({"type": kind, "event_id": "1", **values}))
