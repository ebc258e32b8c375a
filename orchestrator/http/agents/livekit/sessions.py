"""`POST /v1/sessions` as `livekit-plugins-bey` calls it: an avatar joins a room, as a channel of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from pydantic import AliasChoices, BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from orchestrator.access.allowed_targets import AllowedTargets
from orchestrator.channels.channel import Channel
from orchestrator.channels.setup import open_avatar
from orchestrator.http.agents.session_channel import STOCK_AVATAR, begin_channel, end_channel
from orchestrator.http.errors import ApiError
from orchestrator.http.guard import staying
from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked_body
from orchestrator.http.task_routes import require_ready
from orchestrator.orchestrator import Orchestrator

if TYPE_CHECKING:
    from orchestrator.http.agents.livekit.avatar_room import AvatarRoom

_EXAMPLE = '{"avatar_id": "demo", "url": "wss://…", "token": "…"}'


class RoomBody(BaseModel):
    """The avatar, and the room that it is to join. Earlier versions of the plugin have the names with `livekit_`."""

    avatar_id: str = STOCK_AVATAR
    url: str = Field(validation_alias=AliasChoices("url", "livekit_url"))
    token: str = Field(validation_alias=AliasChoices("token", "livekit_token"))


class RoomJson(TypedDict):
    """The channel that is in the room; removing it ends the session."""

    id: str
    channel: str


@operation(
    "Let an avatar join a LiveKit room (bey's interface)",
    Answer("It has joined, and publishes", RoomJson),
    *(408, 409, 413, 422, 501, 502, 503, 507),
    status=201,
    body=RoomBody,
)
async def join_room(request: Request) -> Response:
    """Create a channel that is there for as long as the room, and join."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    require_ready(orchestrator)
    body = await checked_body(request, RoomBody, HTTPStatus.UNPROCESSABLE_ENTITY, "bad_session", _EXAMPLE)
    return joined(await in_room(orchestrator, body.avatar_id, body.url, body.token, staying(request)))


def joined(channel: Channel) -> Response:
    """The answer for a channel that is in its room."""
    answer: RoomJson = {"id": channel.id, "channel": channel.id}
    return JSONResponse(answer, HTTPStatus.CREATED, headers={"Location": f"/v1/channels/{channel.id}"})


async def in_room(orchestrator: Orchestrator, avatar: str, url: str, token: str, stays: Callable[[], bool]) -> Channel:
    """A channel with this avatar that has joined the room, and is there for as long and while it `stays`.

    Raises ApiError.
    """
    require_allowed(orchestrator, url)
    channel = await begin_channel(orchestrator, avatar)
    try:
        room = await joined_room(orchestrator, channel, url, token, stays)
    except BaseException:
        await end_channel(orchestrator, channel)
        raise
    orchestrator.arrivals.add(_run(orchestrator, channel, room), f"room-{channel.id}")
    return channel


def require_allowed(orchestrator: Orchestrator, url: str) -> None:
    """Raises ApiError (422) for the server of a room that may not be called from here."""
    if refusal := AllowedTargets(orchestrator.settings.allowed_targets).refusal_of_room(url):
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_url", f"url: {refusal}.")


async def joined_room(
    orchestrator: Orchestrator, channel: Channel, url: str, token: str, stays: Callable[[], bool]
) -> AvatarRoom:
    """The channel's avatar in a room, still to be run; raises ApiError."""
    try:
        from orchestrator.http.agents.livekit.avatar_room import AvatarRoom, RoomUnreachable
    except ImportError as error:
        message = f"This server has no LiveKit ({error}): pip install -e '.[agents]'"
        raise ApiError(HTTPStatus.NOT_IMPLEMENTED, "no_livekit", message) from None
    definition = channel.definition
    avatar = await asyncio.to_thread(open_avatar, orchestrator.settings, definition.avatar)
    size = definition.picture_size or avatar.frame_size
    room = AvatarRoom(orchestrator, channel.id, channel.packet_socket, size, stays)
    try:
        await room.join(url, token)
    except RoomUnreachable as error:
        raise ApiError(HTTPStatus.BAD_GATEWAY, "room_unreachable", f"The room can't be joined: {error}.") from None
    return room


async def _run(orchestrator: Orchestrator, channel: Channel, room: AvatarRoom) -> None:
    try:
        await room.run()
    finally:
        if orchestrator.accepting:  # else all channels end, and this one isn't saved
            await end_channel(orchestrator, channel)
