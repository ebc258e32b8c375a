"""A request's body as it arrives, with a limit on the time that it takes."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import anyio
from starlette.requests import Request

from orchestrator.http.errors import ApiError

_STALLED_S = 20.0
_SMALL_BODY_S = 20.0


async def arriving(
    request: Request, limit_s: float = _SMALL_BODY_S, least_bytes_per_s: float = math.inf
) -> AsyncIterator[bytes]:
    """The blocks of the body; raises ApiError (408) when nothing comes for a while, or it comes too slowly.

    `limit_s` may pass in any case, and beside it the time that what has arrived takes at `least_bytes_per_s`: a large
    body has more time, and one that sends a byte now and then doesn't keep a place that others wait for.
    """
    stream, until = request.stream(), anyio.current_time() + limit_s
    while True:
        patience_s = min(_STALLED_S, until - anyio.current_time())
        data: bytes | None = None
        with anyio.move_on_after(patience_s) as scope:
            data = await anext(stream, None)
        if scope.cancelled_caught:
            raise ApiError(HTTPStatus.REQUEST_TIMEOUT, "upload_stalled", _too_slow(limit_s, least_bytes_per_s))
        if data is None:
            return
        until += len(data) / least_bytes_per_s
        yield data


def _too_slow(limit_s: float, least_bytes_per_s: float) -> str:
    beyond = "" if math.isinf(least_bytes_per_s) else f" and came at less than {least_bytes_per_s / 1000:g} kB a second"
    return f"The request stopped for {_STALLED_S:g} s, or took more than {limit_s:g} s{beyond}. Send it again."


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
