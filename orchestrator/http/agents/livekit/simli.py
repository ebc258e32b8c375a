"""The two calls of `livekit-plugins-simli`: a token for a session, and with that the avatar joins a room."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from orchestrator.http.agents.lite.register import LiteSession, LiteSessions
from orchestrator.http.agents.livekit.sessions import RoomJson, in_room, joined
from orchestrator.http.errors import ApiError
from orchestrator.http.guard import staying
from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked_body
from orchestrator.http.task_routes import require_ready
from orchestrator.orchestrator import Orchestrator

_PREPARE_EXAMPLE = '{"faceId": "demo"}'
_JOIN_EXAMPLE = '{"session_token": "…", "livekit_url": "wss://…", "livekit_token": "…"}'


class SimliBody(BaseModel):
    """The avatar, behind whose name the plugin writes an emotion. The plugin's limits of time are not kept."""

    face_id: str = Field(alias="faceId", description="the avatar; what follows a slash means nothing here")


class SimliTokenJson(TypedDict):
    """As Simli answers."""

    session_token: str


class SimliRoomBody(BaseModel):
    """The room, and the token of the other call."""

    session_token: str
    livekit_url: str
    livekit_token: str


@operation(
    "Prepare a session (Simli's interface)", Answer("Its token", SimliTokenJson), *(408, 413, 422), body=SimliBody
)
async def prepare_simli(request: Request) -> Response:
    """A token with which the avatar joins one room; nothing runs yet."""
    body = await checked_body(request, SimliBody, HTTPStatus.UNPROCESSABLE_ENTITY, "bad_session", _PREPARE_EXAMPLE)
    session = LiteSession(stays=staying(request), avatar=body.face_id.partition("/")[0], room_url=None, room_token=None)
    _sessions(request).add(session)
    answer: SimliTokenJson = {"session_token": session.token}
    return JSONResponse(answer)


@operation(
    "Let the avatar join a LiveKit room (Simli's interface)",
    Answer("It has joined, and publishes", RoomJson),
    *(401, 408, 409, 413, 422, 501, 502, 503, 507),
    status=201,
    body=SimliRoomBody,
)
async def join_room_of_simli(request: Request) -> Response:
    """Create a channel that is there for as long as the room, and join. The token is good for one room."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    require_ready(orchestrator)
    body = await checked_body(request, SimliRoomBody, HTTPStatus.UNPROCESSABLE_ENTITY, "bad_session", _JOIN_EXAMPLE)
    session = _sessions(request).of_token(body.session_token)
    if session is None or not session.stays():
        raise ApiError(HTTPStatus.UNAUTHORIZED, "unknown_session", "There is no such session_token. Ask for another.")
    if session.starting:
        message = "This session_token was used already. Ask for another one."
        raise ApiError(HTTPStatus.CONFLICT, "session_started", message)
    session.starting = True
    try:
        channel = await in_room(orchestrator, session.avatar, body.livekit_url, body.livekit_token, session.stays)
    except BaseException:
        session.starting = False  # it may be tried again
        raise
    session.over.set()  # from here on it is the room's
    return joined(channel)


def _sessions(request: Request) -> LiteSessions:
    sessions: LiteSessions = request.app.state.lite_sessions
    return sessions
