"""Keys that may watch one channel and do nothing else, for frames of other sites; others are made on the machine."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.access.keys import ApiKey, KeyFile, KeyFileError, Scope
from orchestrator.http.channel_routes import find_channel
from orchestrator.http.errors import ApiError
from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked_body
from orchestrator.http.request_models import NewWatchKey
from orchestrator.http.response_models import NewWatchKeyJson, WatchKeyJson, WatchKeysJson
from orchestrator.orchestrator import Orchestrator

_MOST = 100
_EXAMPLE = '{"name": "shop-window"}'


@operation("List a channel's watch keys", Answer("Their names", WatchKeysJson), 404, 503)
async def list_keys(request: Request) -> Response:
    """The keys that may watch this channel alone, without the keys themselves."""
    body: WatchKeysJson = {"keys": [_json(key) for key in await _keys(request)]}
    return JSONResponse(body)


@operation(
    "Make a key that may watch this channel",
    Answer("The key, this once", NewWatchKeyJson),
    *(400, 404, 408, 409, 413, 422, 503),
    status=201,
    body=NewWatchKey,
)
async def add(request: Request) -> Response:
    """Make a key that may watch this channel and do nothing else."""
    name = (await checked_body(request, NewWatchKey, HTTPStatus.BAD_REQUEST, "broken_json", _EXAMPLE)).name
    channel = find_channel(request).id
    if len(await _keys(request)) >= _MOST:
        raise ApiError(HTTPStatus.CONFLICT, "too_many_keys", f"A channel has at most {_MOST} such keys. Remove one.")
    try:
        secret = await asyncio.to_thread(_file(request).add, name, Scope.WATCH, channel)
    except KeyFileError as error:
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_key", f"No key was made: {error}.") from None
    made: NewWatchKeyJson = {"name": name, "channel": channel, "key": secret}
    return JSONResponse(made, HTTPStatus.CREATED)


@operation("Remove a watch key", Answer("It opens nothing any more"), 404, 503, status=204)
async def remove(request: Request) -> Response:
    """Forget one of the keys that may watch this channel alone."""
    name: str = request.path_params["name"]
    if all(key.name != name for key in await _keys(request)):
        message = f"Channel {find_channel(request).id!r} has no watch key {name[:40]!r}. Look at the list again."
        raise ApiError(HTTPStatus.NOT_FOUND, "unknown_key_name", message)
    try:
        await asyncio.to_thread(_file(request).remove, name)
    except KeyFileError as error:
        raise ApiError(HTTPStatus.NOT_FOUND, "unknown_key_name", f"No key was removed: {error}.") from None
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def _keys(request: Request) -> list[ApiKey]:
    channel = find_channel(request).id
    try:
        keys = await asyncio.to_thread(_file(request).all)
    except KeyFileError as error:
        raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "no_keys", f"The keys can't be read: {error}.", 10) from None
    return [key for key in keys if key.scope is Scope.WATCH and key.channel == channel]


def _file(request: Request) -> KeyFile:
    """One of its own: the one that the gate reads in the event loop isn't made for threads."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    return KeyFile(orchestrator.settings.keys_path)


def _json(key: ApiKey) -> WatchKeyJson:
    return {"name": key.name, "created_at": key.created_at}
