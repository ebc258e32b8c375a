"""Checks that run before an endpoint: the caller's key and its scope, and the limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.access.gate import Caller
from orchestrator.access.keys import Scope
from orchestrator.access.limits import RateLimit
from orchestrator.http.errors import ApiError
from orchestrator.http.unread import read_rest
from orchestrator.orchestrator import Orchestrator

_UNREAD_BYTES = 1_000_000
_RETRY_BUSY_S = 2

Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(endpoint: Endpoint, scope: Scope | None) -> Endpoint:
    """The endpoint for callers whose key has the scope, within their rate; None asks for no key."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            _admit(request, scope)
        except ApiError as refusal:
            raise await _read(request, refusal) from None
        return await endpoint(request)

    return answer


def guarded_upload(endpoint: Endpoint, scope: Scope) -> Endpoint:
    """The same for an upload, which has a rate of its own and one of the places for uploads."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        orchestrator: Orchestrator = request.app.state.orchestrator
        try:
            caller = _admit(request, scope)
            _within(orchestrator.upload_rate, caller, "uploads")
            if full := orchestrator.uploads.refusal(caller.name, "uploads"):
                raise busy(full)
        except ApiError as refusal:
            raise await _read(request, refusal) from None
        with orchestrator.uploads.one(caller.name):
            return await endpoint(request)

    return answer


def caller_of(request: Request) -> Caller:
    """Who asks: by the key in the header, else by the page's session."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    address = request.client.host if request.client else "unknown"
    return orchestrator.gate.caller(_sent_key(request), address, request.cookies.get(session_cookie(request)))


def session_cookie(request: Request) -> str:
    """The name of the page's cookie.

    Browsers send a cookie to all ports of a host: with the port in its name two servers don't overwrite each other's.
    Under TLS the prefix makes browsers refuse one that another host, or a page without TLS, would set.
    """
    orchestrator: Orchestrator = request.app.state.orchestrator
    prefix = "__Host-" if is_secure(request) else ""
    return f"{prefix}latentsync_session_{orchestrator.settings.http_port}"


def is_secure(request: Request) -> bool:
    """Whether the browser came by TLS, to us or to the proxy before us."""
    return request.url.scheme == "https"


def busy(reason: str) -> ApiError:
    """The 503 answer of a server that has no capacity left."""
    message = f"The server has too much to do now: {reason}. Try again."
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", message, _RETRY_BUSY_S)


def _admit(request: Request, scope: Scope | None) -> Caller:
    orchestrator: Orchestrator = request.app.state.orchestrator
    caller = caller_of(request)
    request.state.caller = caller.name  # for the log
    _within(orchestrator.requests, caller, "requests")
    if scope is None:
        return caller
    if caller.scope is None:
        raise _not_let_in(request)
    if not caller.scope.allows(scope):
        message = f"This key may {caller.scope.value}, and this needs one that may {scope.value}."
        raise ApiError(HTTPStatus.FORBIDDEN, "scope_missing", message)
    return caller


def _sent_key(request: Request) -> str | None:
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else None


def _not_let_in(request: Request) -> ApiError:
    """The 401 answer to a caller without a key, or with one that opens nothing."""
    if _sent_key(request):
        code = "unknown_key"
        message = "There is no such key. Was all of it sent? `latentsync-realtime key list` names those that there are."
    else:
        code = "key_required"
        message = "Send an API key as `Authorization: Bearer KEY`; `latentsync-realtime key add` makes one."
    refusal = ApiError(HTTPStatus.UNAUTHORIZED, code, message)
    refusal.headers["WWW-Authenticate"] = "Bearer"
    return refusal


def _within(limit: RateLimit, caller: Caller, what: str) -> None:
    wait_s = limit.take(caller.name)
    if wait_s:
        message = f"These are more {what} a minute than one caller may send. Try again in {wait_s} s."
        raise ApiError(HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests", message, wait_s)


async def _read(request: Request, refusal: ApiError) -> ApiError:
    """The refusal, after a small part of the refused body was read, so that its sender can read the answer."""
    refusal.closes = not await read_rest(request, _UNREAD_BYTES)
    return refusal
