"""The page's session: a cookie that no script can read stands for a key, which the browser doesn't keep."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.access.gate import Caller
from orchestrator.access.sessions import LASTS_S
from orchestrator.http.errors import ApiError
from orchestrator.http.guard import caller_of, is_secure, session_cookie
from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked_body
from orchestrator.http.request_models import KeyBody
from orchestrator.http.response_models import SessionJson, SpeechLimitsJson
from orchestrator.orchestrator import Orchestrator


@operation("Is a key asked for, and what may mine do?", Answer("The caller's scope", SessionJson))
async def show(request: Request) -> Response:
    """Whether a key is asked for, what the one that was sent may do, and what a speech may hold."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    return JSONResponse(_session(orchestrator, caller_of(request)))


@operation("Begin a session, for the page", Answer("The key's scope", SessionJson), 400, 408, 413, body=KeyBody)
async def begin(request: Request) -> Response:
    """Begin a session for the body's key; events and pictures can't carry a key in a header."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    body = await checked_body(request, KeyBody, HTTPStatus.BAD_REQUEST, "broken_json", '{"key": "lsr_…"}')
    key = body.key.strip()
    caller = orchestrator.gate.caller(key, request.client.host if request.client else "unknown")
    if caller.scope is None:
        raise ApiError(HTTPStatus.UNAUTHORIZED, "unknown_key", "There is no such key. Ask whoever runs the server.")
    answer = JSONResponse(_session(orchestrator, caller))
    token = orchestrator.gate.begin_session(key) if orchestrator.gate.required else None
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


@operation("End the session", Answer("It has ended"), status=204)
async def end(request: Request) -> Response:
    """End the session: its cookie opens nothing any more, wherever it was copied to."""
    _end_session(request)
    answer = Response(status_code=HTTPStatus.NO_CONTENT)
    answer.delete_cookie(session_cookie(request), secure=is_secure(request), httponly=True, samesite="strict")
    return answer


def _session(orchestrator: Orchestrator, caller: Caller) -> SessionJson:
    defaults, settings = orchestrator.defaults, orchestrator.settings
    own = defaults.quality_of(defaults.channel)
    speech: SpeechLimitsJson = {
        "channel": defaults.channel,
        "num_inference_steps": {"default": own.steps, "maximum": defaults.max_steps},
        "guidance_scale": {"default": own.guidance, "maximum": defaults.max_guidance},
        "longest_s": settings.speech_limit_s,
        "largest_bytes": settings.upload_limit_bytes,
    }
    return {
        "key_required": orchestrator.gate.required,
        "scope": caller.scope,
        "channel": caller.channel,
        "speech": None if caller.scope is None else speech,
    }


def _end_session(request: Request) -> None:
    orchestrator: Orchestrator = request.app.state.orchestrator
    token = request.cookies.get(session_cookie(request))
    if token:
        orchestrator.gate.end_session(token)
