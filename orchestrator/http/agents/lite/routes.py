"""`/v1/sessions/token`, `/start` and `/stop`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from orchestrator.http.agents.lite.register import LiteSession, LiteSessions
from orchestrator.http.agents.livekit.sessions import joined_room, require_allowed
from orchestrator.http.agents.session_channel import begin_channel, end_channel
from orchestrator.http.errors import ApiError
from orchestrator.http.guard import staying
from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked_body
from orchestrator.http.sent_key import sent_key
from orchestrator.http.task_routes import require_ready
from orchestrator.orchestrator import Orchestrator

_DONE = 100  # what LiveAvatar says where all is well
_UNUSED_S = 60.0
"""How long a session that was started waits for its socket."""
_LONGEST_S = 6 * 3600
_LOOK_S = 1.0
_EXAMPLE = '{"mode": "LITE", "avatar_id": "demo"}'


class RoomConfig(BaseModel):
    """The LiveKit room that the avatar is to join."""

    livekit_url: str
    livekit_client_token: str


class TokenBody(BaseModel):
    """The avatar; without a room it is watched as other channels are."""

    avatar_id: str
    livekit_config: RoomConfig | None = None


class TokenData(TypedDict):
    """The session, which isn't started yet."""

    session_id: str
    session_token: str


class TokenJson(TypedDict):
    """As LiveAvatar answers."""

    code: int
    data: TokenData
    message: str


class StartData(TypedDict):
    """Where the session is; `channel` is ours, the LiveKit fields are empty where no room was named."""

    session_id: str
    channel: str
    ws_url: str
    livekit_url: str
    livekit_client_token: str
    livekit_agent_token: str
    max_session_duration: int


class StartJson(TypedDict):
    """As LiveAvatar answers."""

    code: int
    data: StartData
    message: str


class StopJson(TypedDict):
    """As LiveAvatar answers."""

    code: int
    data: None
    message: str


@operation(
    "Prepare a session (LiveAvatar's interface)",
    Answer("Its token", TokenJson),
    *(408, 413, 422),
    body=TokenBody,
)
async def session_token(request: Request) -> Response:
    """A token that starts and stops one session; nothing runs yet."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    body = await checked_body(request, TokenBody, HTTPStatus.UNPROCESSABLE_ENTITY, "bad_session", _EXAMPLE)
    room = body.livekit_config
    if room is not None:
        require_allowed(orchestrator, room.livekit_url)
    session = LiteSession(
        stays=staying(request),
        avatar=body.avatar_id,
        room_url=None if room is None else room.livekit_url,
        room_token=None if room is None else room.livekit_client_token,
    )
    _sessions(request).add(session)
    data: TokenData = {"session_id": session.id, "session_token": session.token}
    return _answer(data)


@operation("Start a session (LiveAvatar's interface)", Answer("Its socket", StartJson), *(409, 422, 501, 502, 503, 507))
async def session_start(request: Request) -> Response:
    """Create the session's channel, and join its room where it has one. The token is that of the session."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    session = _session(request)
    if not session.stays():
        raise _unknown()
    require_ready(orchestrator)
    if session.starting:
        message = "This session was started already. Ask for another token."
        raise ApiError(HTTPStatus.CONFLICT, "session_started", message)
    session.starting = True
    try:
        channel = await begin_channel(orchestrator, session.avatar)
        try:
            room = None
            if session.room_url is not None and session.room_token is not None:
                room = await joined_room(orchestrator, channel, session.room_url, session.room_token, session.stays)
        except BaseException:
            await end_channel(orchestrator, channel)
            raise
    except BaseException:
        session.starting = False  # it may be tried again
        raise
    session.channel = channel
    orchestrator.arrivals.add(_hold(orchestrator, session, room), f"lite-{channel.id}")
    scheme = "wss" if request.url.scheme == "https" else "ws"
    data: StartData = {
        "session_id": session.id,
        "channel": channel.id,
        "ws_url": f"{scheme}://{request.url.netloc}/v1/sessions/{session.socket_secret}/socket",
        "livekit_url": session.room_url or "",
        "livekit_client_token": "",
        "livekit_agent_token": "",
        "max_session_duration": _LONGEST_S,
    }
    return _answer(data)


@operation("Stop a session (LiveAvatar's interface)", Answer("It is over", StopJson))
async def session_stop(request: Request) -> Response:
    """End the session; what it says falls silent. One that is over already is no mistake."""
    _session(request).over.set()
    return _answer(None)


def _answer(data: Any) -> JSONResponse:
    return JSONResponse({"code": _DONE, "data": data, "message": "ok"})


def _sessions(request: Request) -> LiteSessions:
    sessions: LiteSessions = request.app.state.lite_sessions
    return sessions


def _session(request: Request) -> LiteSession:
    session = _sessions(request).of_token(sent_key(request))
    if session is None:
        raise _unknown()
    return session


def _unknown() -> ApiError:
    message = "Send the session_token of this session as `Authorization: Bearer TOKEN`: there is no such session."
    return ApiError(HTTPStatus.UNAUTHORIZED, "unknown_session", message)


async def _hold(orchestrator: Orchestrator, session: LiteSession, room: Any) -> None:
    """Until it is stopped, its socket is closed, its room, its channel or its key is gone, or the server stops."""
    assert session.channel is not None
    in_room = None if room is None else asyncio.create_task(room.run(), name=f"room-{session.channel.id}")
    began = asyncio.get_running_loop().time()
    try:
        channels = orchestrator.channels
        while orchestrator.accepting and channels.get(session.channel.id) is session.channel and session.stays():
            with suppress(TimeoutError):
                await asyncio.wait_for(session.over.wait(), _LOOK_S)
            lasted_s = asyncio.get_running_loop().time() - began
            unused = lasted_s > _UNUSED_S and not session.connected.is_set()
            if session.over.is_set() or unused or lasted_s > _LONGEST_S or (in_room is not None and in_room.done()):
                break
        if not orchestrator.accepting and session.connected.is_set():
            await session.over.wait()  # what plays goes on within the server's limit
    finally:
        session.over.set()
        if in_room is not None:
            in_room.cancel()
            await asyncio.gather(in_room, return_exceptions=True)
        channel, session.channel = session.channel, None  # a session that is over is remembered, not its avatar
        if orchestrator.accepting:  # else all channels end, and this one isn't saved
            await end_channel(orchestrator, channel)
