"""A request's body as it arrives, with an end to our patience."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import anyio
from starlette.requests import Request

from orchestrator.http.errors import ApiError

_STALLED_S = 20.0
_SMALL_BODY_S = 20.0


async def arriving(request: Request, limit_s: float = _SMALL_BODY_S) -> AsyncIterator[bytes]:
    """The blocks of the body; raises ApiError (408) when nothing comes for a while, or not all of it in `limit_s`.

    Who sends a byte now and then would else keep a place that others wait for.
    """
    stream, until = request.stream(), anyio.current_time() + limit_s
    while True:
        patience_s = min(_STALLED_S, until - anyio.current_time())
        data: bytes | None = None
        with anyio.move_on_after(patience_s) as scope:
            data = await anext(stream, None)
        if scope.cancelled_caught:
            message = f"The request stopped for {_STALLED_S:g} s, or took more than {limit_s:g} s. Send it again."
            raise ApiError(HTTPStatus.REQUEST_TIMEOUT, "upload_stalled", message)
        if data is None:
            return
        yield data


async def small_body(request: Request, limit_bytes: int, message: str) -> bytes:
    """The whole body; raises ApiError: 413 with `message` when it is longer than `limit_bytes`, and as `arriving`."""
    body = bytearray()
    async for data in arriving(request):
        body += data
        if len(body) > limit_bytes:
            raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", message)
    return bytes(body)


async def small_json(request: Request, limit_bytes: int, message: str) -> Any:
    """What the body says as JSON, None where it is none that can be read; raises as `small_body`."""
    body = await small_body(request, limit_bytes, message)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # the latter for brackets in brackets in brackets
        return None
