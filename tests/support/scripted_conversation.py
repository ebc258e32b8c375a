"""The far end of a page's conversation, which says what a test tells it to: states that a real one passes too soon."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from playwright.async_api import Page, WebSocketRoute

READY: dict[str, Any] = {"channel": "main", "language": "en", "voice": None, "greeting": None, "messages": 0}


class ScriptedConversation:
    """Takes the place of the server's socket in a page that is opened after `serve`."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.sound = bytearray()
        self.connections = 0
        self.is_ready = True
        """Whether a start is answered at once; else the test says `ready` itself."""
        self._socket: WebSocketRoute | None = None

    async def serve(self, page: Page) -> None:
        """Answers the page's sockets from now on."""
        await page.route_web_socket("**/conversation", self._accept)

    def say(self, kind: str, **fields: Any) -> None:
        """Sends a message of the server's."""
        assert self._socket is not None
        self._socket.send(json.dumps({"type": kind, **fields}))

    async def lose(self) -> None:
        """Ends the connection as a lost network does."""
        assert self._socket is not None
        await self._socket.close(code=1011)

    async def until(self, kind: str, count: int = 1) -> dict[str, Any]:
        """The newest message of this kind, once there are so many."""
        while True:
            found = [message for message in self.received if message["type"] == kind]
            if len(found) >= count:
                return found[-1]
            await asyncio.sleep(0.02)

    def _accept(self, socket: WebSocketRoute) -> None:
        self._socket = socket
        self.connections += 1
        socket.on_message(self._take)

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.sound += message
            return
        content = json.loads(message)
        self.received.append(content)
        if self.is_ready and content["type"] in ("start", "reset"):
            self.say("ready", **READY)
