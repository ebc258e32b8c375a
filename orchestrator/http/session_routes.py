"""The page's key, kept in a cookie that no script can read."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.http.arriving import small_json
from orchestrator.http.errors import ApiError
from orchestrator.http.guard import SESSION_COOKIE, caller_of
from orchestrator.orchestrator import Orchestrator

_BODY_BYTES = 10_000
_LASTS_S = 30 * 24 * 3600


async def show(request: Request) -> Response:
    """Whether a key is asked for, and what the one that was sent may do."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    scope = caller_of(request).scope
    return JSONResponse({"key_required": orchestrator.gate.required, "scope": None if scope is None else scope.value})


async def begin(request: Request) -> Response:
    """Keep the body's key in a cookie; events and pictures can't carry it in a header."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    values = await small_json(request, _BODY_BYTES, 'Send {"key": "lsr_…"}.')
    key = values.get("key") if isinstance(values, dict) else None
    if not isinstance(key, str):
        raise ApiError(HTTPStatus.BAD_REQUEST, "broken_json", 'The body must be {"key": "lsr_…"} as JSON.')
    caller = orchestrator.gate.caller(key.strip(), request.client.host if request.client else "unknown")
    if caller.scope is None:
        raise ApiError(HTTPStatus.UNAUTHORIZED, "unknown_key", "There is no such key. Ask whoever runs the server.")
    answer = JSONResponse({"key_required": orchestrator.gate.required, "scope": caller.scope.value})
    if orchestrator.gate.required:  # else what was typed is nobody's key, and is not kept
        answer.set_cookie(
            SESSION_COOKIE,
            key.strip(),
            max_age=_LASTS_S,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
    return answer


async def end(request: Request) -> Response:
    """Forget the cookie."""
    answer = Response(status_code=HTTPStatus.NO_CONTENT)
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
    return answer
