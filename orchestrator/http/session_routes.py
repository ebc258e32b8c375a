"""The page's session: a cookie that no script can read stands for a key, which the browser doesn't keep."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.access.sessions import LASTS_S
from orchestrator.http.arriving import small_json
from orchestrator.http.errors import ApiError
from orchestrator.http.guard import caller_of, is_secure, session_cookie
from orchestrator.orchestrator import Orchestrator

_BODY_BYTES = 10_000


async def show(request: Request) -> Response:
    """Whether a key is asked for, and what the one that was sent may do."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    scope = caller_of(request).scope
    return JSONResponse({"key_required": orchestrator.gate.required, "scope": None if scope is None else scope.value})


async def begin(request: Request) -> Response:
    """Begin a session for the body's key; events and pictures can't carry a key in a header."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    values = await small_json(request, _BODY_BYTES, 'Send {"key": "lsr_…"}.')
    key = values.get("key") if isinstance(values, dict) else None
    if not isinstance(key, str):
        raise ApiError(HTTPStatus.BAD_REQUEST, "broken_json", 'The body must be {"key": "lsr_…"} as JSON.')
    caller = orchestrator.gate.caller(key.strip(), request.client.host if request.client else "unknown")
    if caller.scope is None:
        raise ApiError(HTTPStatus.UNAUTHORIZED, "unknown_key", "There is no such key. Ask whoever runs the server.")
    answer = JSONResponse({"key_required": orchestrator.gate.required, "scope": caller.scope.value})
    token = orchestrator.gate.begin_session(key.strip()) if orchestrator.gate.required else None
    if token is not None:
        _end_session(request)  # that of a key that was used before
        answer.set_cookie(
            session_cookie(request),
            token,
            max_age=LASTS_S,
            secure=is_secure(request),
            httponly=True,
            samesite="strict",
        )
    return answer


async def end(request: Request) -> Response:
    """End the session: its cookie opens nothing any more, wherever it was copied to."""
    _end_session(request)
    answer = Response(status_code=HTTPStatus.NO_CONTENT)
    answer.delete_cookie(session_cookie(request), secure=is_secure(request), httponly=True, samesite="strict")
    return answer


def _end_session(request: Request) -> None:
    orchestrator: Orchestrator = request.app.state.orchestrator
    token = request.cookies.get(session_cookie(request))
    if token:
        orchestrator.gate.end_session(token)
