"""Channels over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from orchestrator.channels.channel import Channel
from orchestrator.http.errors import ApiError
from orchestrator.service import Service

_BLOCK_BYTES = 64 * 1024
_RETRY_S = 2
_STALLED_S = 5.0


async def list_channels(request: Request) -> Response:
    """All channels."""
    service: Service = request.app.state.service
    return JSONResponse({"channels": [channel.view.as_json() for channel in service.channels.values()]})


async def show_channel(request: Request) -> Response:
    """One channel."""
    return JSONResponse(_find_channel(request).view.as_json())


async def interrupt(request: Request) -> Response:
    """Cancel what the channel says now; with `?queue=true` what waits too."""
    channel = _find_channel(request)
    task_ids = await channel.interrupt(clear_queue=request.query_params.get("queue") == "true")
    return JSONResponse({"cancelled": task_ids})


async def preview(request: Request) -> Response:
    """The channel's stream as endless fragmented MP4, from the next keyframe on."""
    service: Service = request.app.state.service
    channel = _find_channel(request)
    if not service.accepting:
        raise _no_preview("the server is stopping")
    if channel.viewers >= service.settings.preview_viewers:
        raise _no_preview(f"{channel.viewers} viewers are connected, which is the limit")
    try:
        reader, writer = await asyncio.open_unix_connection(channel.config.preview_socket)
    except OSError as error:
        raise _no_preview(f"channel {channel.config.id} has no stream ({error.strerror})") from None
    return StreamingResponse(
        _relayed(reader, writer, channel, service), media_type="video/mp4", headers={"Cache-Control": "no-store"}
    )


async def _relayed(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, channel: Channel, service: Service
) -> AsyncIterator[bytes]:
    channel.viewers += 1
    try:
        while service.streams_open:
            with anyio.move_on_after(_STALLED_S) as scope:
                block = await reader.read(_BLOCK_BYTES)
            if scope.cancelled_caught or not block:
                return  # the viewer connects again, and gets a fresh beginning
            yield block
    finally:
        channel.viewers -= 1
        writer.close()


def _find_channel(request: Request) -> Channel:
    service: Service = request.app.state.service
    channel_id = request.path_params["channel_id"]
    channel = service.channels.get(channel_id)
    if channel is None:
        message = f"There is no channel {channel_id[:64]!r}; there is {', '.join(service.channels)}."
        raise ApiError(HTTPStatus.NOT_FOUND, "unknown_channel", message)
    return channel


def _no_preview(reason: str) -> ApiError:
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "no_preview", f"No preview now: {reason}. Try again.", _RETRY_S)
