"""One WebSocket, as uvicorn speaks it, which ends when its client is gone or no longer reads."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from orchestrator.http.read_watch import ReadWatch

LARGEST_MESSAGE_BYTES = 4_000_000
"""A larger message ends the connection with 1009, before it is in memory."""

UVICORN_OPTIONS: dict[str, Any] = {
    "ws_max_size": LARGEST_MESSAGE_BYTES,
    "ws_ping_interval": 20.0,
    # A pong that waits behind sound which isn't read yet, by backpressure, must not end the connection.
    "ws_ping_timeout": None,
    "ws_per_message_deflate": False,  # sound doesn't become smaller, and a small message must not become a large one
}
_UNACKNOWLEDGED_MS = 30_000


class WebSocketConnection(WebSocketsSansIOProtocol):
    """Uvicorn's WebSocket with a limit on blocked sends, and on the time that a vanished client is waited for."""

    _watch: ReadWatch

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has asked for a WebSocket."""
        super().connection_made(transport)
        self._watch = ReadWatch(transport, lambda: self.request.path if self.handshake_initiated else "")
        # Where the client's machine or network is gone nobody acknowledges the pings, and TCP waits for 15 minutes.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)

    def pause_writing(self) -> None:
        """The send buffer is full."""
        super().pause_writing()
        self._watch.begin()

    def resume_writing(self) -> None:
        """The client reads on."""
        self._watch.end()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Also after an abort."""
        self._watch.end()
        super().connection_lost(exc)

    async def send(self, message: ASGISendEvent) -> None:
        """What the application says."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # else a refusal is logged as a fault of the application

    def handle_ping(self) -> None:
        """Answered as long as the client reads the answers: they would wait in memory."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.transport.abort()
