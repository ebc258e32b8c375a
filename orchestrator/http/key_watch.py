"""A connection ends when the key or the page's session that opened it is no more."""

from __future__ import annotations

import contextlib
import json
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.http.errors import ApiError, error_response
from orchestrator.http.guard import caller_of, staying
from orchestrator.orchestrator import Orchestrator

GONE = ApiError(HTTPStatus.UNAUTHORIZED, "key_removed", "The key, or the session, that opened this is no more.")
_CLOSE_CODE = 4000 + GONE.status


class KeyWatch:
    """Wraps the application of a server that asks for keys; others it leaves alone."""

    def __init__(self, app: ASGIApp, orchestrator: Orchestrator) -> None:
        self._app = app
        self._orchestrator = orchestrator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = caller_of(HTTPConnection(scope))
        if caller.key is None:
            await self._app(scope, receive, send)
            return
        opened = _Socket(receive, send) if scope["type"] == "websocket" else _Request(receive, send)
        with self._orchestrator.open_by_key.one(caller.name, staying(HTTPConnection(scope)), opened.end):
            await self._app(scope, opened.receive, opened.send)


class _Socket:
    """A WebSocket. For the endpoint it ends as if the client had left."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.receive = receive
        self._send = send
        self._accepted = self._closed = self._ended = False

    async def send(self, message: Message) -> None:
        if self._ended:
            raise OSError("the connection was ended")
        self._accepted = self._accepted or message["type"] == "websocket.accept"
        self._closed = message["type"] == "websocket.close"
        try:
            await self._send(message)
        except RuntimeError as error:  # it had waited for the client to read, until it was ended
            if self._ended:
                raise OSError("the connection was ended") from error
            raise

    async def end(self) -> None:
        """Close it; its `receive` returns the end."""
        if self._accepted and not self._closed and not self._ended:
            self._ended = True
            with contextlib.suppress(OSError):  # the client was first
                await self._send({"type": "websocket.close", "code": _CLOSE_CODE, "reason": GONE.code})


class _Request:
    """A request whose body still arrives, or whose answer is a stream. What ends by itself is left to end."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._arriving = self._arrived = False
        self._started = self._streams = self._tells_events = self._complete = self._ended = False

    async def receive(self) -> Message:
        self._arriving = not self._arrived
        message = await self._receive()
        self._arrived = not message.get("more_body", False)
        self._arriving = False
        return message

    async def send(self, message: Message) -> None:
        if self._ended:
            return
        if message["type"] == "http.response.start":
            headers = Headers(raw=message.get("headers", []))
            self._started, self._streams = True, "content-length" not in headers
            self._tells_events = headers.get("content-type", "").startswith("text/event-stream")
        elif not message.get("more_body", False):
            self._complete = True
        try:
            await self._send(message)
        except RuntimeError:  # it had waited for the client to read, until it was ended
            if not self._ended:
                raise

    async def end(self) -> None:
        """Say why, where that can be said, and end; its `receive` returns the end."""
        if self._complete or self._ended:
            return
        if self._started and self._streams:
            self._ended = True
            error = json.dumps({"code": GONE.code, "message": GONE.message})
            last = f"event: error\ndata: {error}\n\n".encode() if self._tells_events else b""
            await self._send({"type": "http.response.body", "body": last, "more_body": False})
        elif self._arriving and not self._started:
            self._ended = True
            answer = error_response(GONE.status, GONE.code, GONE.message, {"Connection": "close"})
            await answer({"type": "http"}, self._receive, self._send)
