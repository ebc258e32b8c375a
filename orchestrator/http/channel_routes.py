"""Channels over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from conversation.synthesis.synthesiser import SynthesisError, voice_of
from latentsync.avatar import AvatarError
from latentsync.motions import motion_names
from orchestrator.access.keys import KeyFile, KeyFileError
from orchestrator.channels.channel import Channel
from orchestrator.channels.definition import ChannelDefinition, DefinitionError
from orchestrator.channels.lineup import ChannelExists, ChannelOfSettings, TooManyChannels
from orchestrator.channels.setup import open_avatar
from orchestrator.channels.view import ChannelJson
from orchestrator.encoder_costs import EncoderCostJson
from orchestrator.http.arriving import small_json
from orchestrator.http.errors import ApiError
from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked
from orchestrator.http.request_models import ChannelChange, InterruptQuery
from orchestrator.http.response_models import CancelledJson, ChannelsJson, CreatedChannelJson, RemovedJson
from orchestrator.http.shown_channel import sees_all, shown
from orchestrator.orchestrator import Orchestrator
from orchestrator.settings import SettingsError
from speech.audio.frames import FPS
from streaming.handle import ChannelError

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 64 * 1024
_BODY_BYTES = 64 * 1024
_RETRY_S = 2
_STALLED_S = 5.0


@operation("All channels", Answer("The channels", ChannelsJson))
async def list_channels(request: Request) -> Response:
    """All channels."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    whole = sees_all(request)
    body: ChannelsJson = {"channels": [shown(channel.view, whole) for channel in orchestrator.channels.values()]}
    return JSONResponse(body)


@operation("One channel", Answer("The channel", ChannelJson), 404)
async def show_channel(request: Request) -> Response:
    """One channel."""
    return JSONResponse(shown(find_channel(request).view, sees_all(request)))


@operation(
    "Create a channel",
    Answer("The channel, starting", CreatedChannelJson),
    *(400, 408, 409, 413, 422, 503, 507),
    status=201,
    body=ChannelDefinition,
)
async def create_channel(request: Request) -> Response:
    """Add a channel; it is there again after a restart."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    require_accepting(orchestrator)
    values = {**orchestrator.settings.channel_defaults(), **await _json_object(request)}
    definition = await checked_definition(values, orchestrator)
    try:
        channel = await orchestrator.channels.create(definition)
    except ChannelExists as error:
        raise ApiError(HTTPStatus.CONFLICT, "channel_exists", str(error)) from None
    except TooManyChannels as error:
        raise ApiError(HTTPStatus.CONFLICT, "too_many_channels", str(error)) from None
    location = {"Location": f"/v1/channels/{channel.id}"}
    cost = await asyncio.to_thread(_cost, definition, orchestrator)
    body: CreatedChannelJson = {**channel.view.as_json(), "encoder_cost": cost}
    return JSONResponse(body, HTTPStatus.CREATED, headers=location)


@operation(
    "Change a channel",
    Answer("The channel", ChannelJson),
    *(400, 404, 408, 409, 413, 422, 503, 507),
    body=ChannelChange,
)
async def change_channel(request: Request) -> Response:
    """Change the fields that the body names."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    require_accepting(orchestrator)
    channel = find_channel(request)
    values = await _json_object(request)
    if values.get("channel", channel.id) != channel.id:
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_channel", "channel: a channel's name can't be changed.")
    definition = await checked_definition(
        {**channel.definition.model_dump(), **_merged(channel.definition, values)}, orchestrator
    )
    with refusals(request):
        return JSONResponse((await orchestrator.channels.change(definition)).view.as_json())


@operation("End a channel for good", Answer("Its name, and its cancelled tasks", RemovedJson), 404, 409)
async def remove_channel(request: Request) -> Response:
    """End a channel for good; its tasks are cancelled, and the keys that watch it alone are forgotten."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    channel = find_channel(request)
    with refusals(request):
        body: RemovedJson = {"removed": channel.id, "cancelled": await orchestrator.channels.remove(channel.id)}
    try:
        await asyncio.to_thread(KeyFile(orchestrator.settings.keys_path).remove_of, channel.id)
    except (KeyFileError, OSError) as error:
        logger.error(
            "channel %s is removed, and a later one of its name opens to its watch keys: %s", channel.id, error
        )
    return JSONResponse(body)


@operation(
    "Cancel the present speech",
    Answer("The cancelled tasks, and what was heard of each", CancelledJson),
    *(404, 422),
    query=InterruptQuery,
)
async def interrupt(request: Request) -> Response:
    """Cancel what the channel says now; with `?queue=true` what waits too."""
    channel = find_channel(request)
    query = checked(InterruptQuery, request.query_params)
    tasks = await channel.interrupt(clear_queue=query.queue == "true")
    body: CancelledJson = {
        "cancelled": [task.id for task in tasks],
        "heard": {task.id: {"frames": task.frames_heard, "seconds": task.frames_heard / FPS} for task in tasks},
    }
    return JSONResponse(body)


@operation("The stream, live", Answer("Endless fragmented MP4", media="video/mp4"), 404, 503)
async def preview(request: Request) -> Response:
    """The channel's stream as endless fragmented MP4, from the next keyframe on."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    channel = find_channel(request)
    if not orchestrator.accepting:
        raise _no_preview("the server is stopping")
    viewers = channel.viewers + orchestrator.audiences.viewers(channel.id)
    if viewers >= orchestrator.settings.preview_viewers:
        raise _no_preview(f"{viewers} viewers are connected, which is the limit")
    channel.viewers += 1  # before anything is awaited: others ask meanwhile
    try:
        reader, writer = await asyncio.open_unix_connection(channel.preview_socket)
    except BaseException as error:
        channel.viewers -= 1
        if isinstance(error, OSError):
            raise _no_preview(f"channel {channel.id} has no stream ({error.strerror})") from None
        raise
    return _Preview(reader, writer, channel, orchestrator)


class _Preview(StreamingResponse):
    """A viewer's stream; the place is free again once the response is over, also where it never began."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, channel: Channel, orchestrator: Orchestrator
    ) -> None:
        # A player must know the codecs before the first byte, and may have a key that sees nothing else of the channel.
        status = channel.view.status
        codecs = f'; codecs="{status.preview_codecs}"' if status and status.preview_codecs else ""
        headers = {"Cache-Control": "no-store", "Content-Type": f"video/mp4{codecs}"}
        super().__init__(_relayed(reader, orchestrator), headers=headers)
        self._writer = writer
        self._channel = channel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._channel.viewers -= 1
            self._writer.close()


async def _relayed(reader: asyncio.StreamReader, orchestrator: Orchestrator) -> AsyncIterator[bytes]:
    while orchestrator.streams_open:
        with anyio.move_on_after(_STALLED_S) as scope:
            block = await reader.read(_BLOCK_BYTES)
        if scope.cancelled_caught or not block:
            return  # the viewer reconnects and starts at the next keyframe
        yield block


async def checked_definition(values: dict[str, Any], orchestrator: Orchestrator) -> ChannelDefinition:
    """The definition, whose avatar is there and whose targets are allowed; raises ApiError (422)."""
    try:
        definition = ChannelDefinition.parse(values)
        refused = await asyncio.to_thread(orchestrator.setup.refused_targets, definition)
        for target, reason in refused.items():
            raise DefinitionError(f"targets: number {definition.targets.index(target)}: {reason}")
        avatar = await asyncio.to_thread(orchestrator.setup.avatar, definition)
        known = await asyncio.to_thread(motion_names, avatar.directory)
        if unknown := sorted(definition.named_motions - set(known)):
            there = f"there is {', '.join(known)}" if known else "it has none"
            raise DefinitionError(f"motions: the avatar has no motion {', '.join(unknown)}; {there}")
        if orchestrator.synthesiser is not None:
            voice_of(orchestrator.synthesiser, definition.voice)
    except (DefinitionError, SettingsError, AvatarError) as error:
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_channel", f"{error}.") from None
    except SynthesisError as error:
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_channel", f"voice: {error}") from None
    return definition


def _merged(definition: ChannelDefinition, values: dict[str, Any]) -> dict[str, Any]:
    """The change, with what it leaves out of the conversation as it is."""
    changed = values.get("conversation")
    if definition.conversation is None or not isinstance(changed, dict):
        return values
    return {**values, "conversation": definition.conversation.changed_by(changed)}


def _cost(definition: ChannelDefinition, orchestrator: Orchestrator) -> EncoderCostJson | None:
    size = open_avatar(orchestrator.settings, definition.avatar).frame_size
    return orchestrator.encoder_costs.of_channel(definition, size)


async def _json_object(request: Request) -> dict[str, Any]:
    values = await small_json(request, _BODY_BYTES, f"Send at most {_BODY_BYTES} bytes.")
    if not isinstance(values, dict):
        message = 'Send a JSON object, such as {"channel": "news", "avatar": "demo", "targets": []}.'
        raise ApiError(HTTPStatus.BAD_REQUEST, "broken_json", message)
    return values


@contextmanager
def refusals(request: Request) -> Iterator[None]:
    """Turns what a change of the path's channel raises into answers."""
    try:
        yield
    except ChannelOfSettings as error:
        raise ApiError(HTTPStatus.CONFLICT, "channel_of_settings", str(error)) from None
    except ChannelError as error:
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_channel", f"targets: {error}.") from None
    except KeyError:  # removed by another request meanwhile
        find_channel(request)
        raise


def require_accepting(orchestrator: Orchestrator) -> None:
    """Raises ApiError (503) while the server stops."""
    if not orchestrator.accepting:
        raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "stopping", "The server is stopping.", _RETRY_S)


def find_channel(request: Request) -> Channel:
    """The channel that the path names; raises ApiError (404)."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    channel_id = request.path_params["channel_id"]
    channel = orchestrator.channels.get(channel_id)
    if channel is None:
        message = f"There is no channel {channel_id[:64]!r}; there is {', '.join(orchestrator.channels)}."
        raise ApiError(HTTPStatus.NOT_FOUND, "unknown_channel", message)
    return channel


def _no_preview(reason: str) -> ApiError:
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "no_preview", f"No preview now: {reason}. Try again.", _RETRY_S)
