"""The answer at a path that nothing is at, also to a WebSocket."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from orchestrator.http.errors import ApiError, denied


async def unknown_path(scope: Scope, receive: Receive, send: Send) -> None:
    """404; Starlette's own answer to a WebSocket is 403 without a word."""
    if scope["type"] != "websocket":
        raise HTTPException(HTTPStatus.NOT_FOUND)
    message = f"There is no WebSocket at {scope['path'][:200]}; docs/api.md lists them."
    await denied(WebSocket(scope, receive, send), ApiError(HTTPStatus.NOT_FOUND, "not_found", message))
