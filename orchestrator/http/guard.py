"""Checks that run before an endpoint, also one of a WebSocket: the caller's key and its scope, and the limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from http import HTTPStatus

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from orchestrator.access.gate import Caller
from orchestrator.access.keys import Scope
from orchestrator.access.limits import Places, RateLimit
from orchestrator.http.errors import ApiError, denied
from orchestrator.http.sent_key import sent_key
from orchestrator.http.unread import refused
from orchestrator.orchestrator import Orchestrator

_UNREAD_BYTES = 1_000_000
_RETRY_BUSY_S = 2

Endpoint = Callable[[Request], Awaitable[Response]]
SocketEndpoint = Callable[[WebSocket], Awaitable[None]]


def guarded(endpoint: Endpoint, scope: Scope | None) -> Endpoint:
    """The endpoint for callers whose key has the scope, within their rate; None asks for no key."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            _admit(request, scope)
        except ApiError as refusal:
            raise await refused(request, refusal, _UNREAD_BYTES) from None
        return await endpoint(request)

    return answer


def guarded_upload(endpoint: Endpoint, scope: Scope) -> Endpoint:
    """The same for an upload, which has a rate of its own and one of the places for uploads."""
    return _guarded_body(endpoint, scope, "uploads", lambda orchestrator: orchestrator.uploads, "uploads")


def guarded_live(endpoint: Endpoint, scope: Scope) -> Endpoint:
    """The endpoint of a body that is spoken while it arrives, which may take as long and as many places as a socket."""
    return _guarded_body(endpoint, scope, "speeches", lambda orchestrator: orchestrator.sockets, "live speeches")


def _guarded_body(
    endpoint: Endpoint, scope: Scope, a_minute: str, places_of: Callable[[Orchestrator], Places], at_once: str
) -> Endpoint:
    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        orchestrator: Orchestrator = request.app.state.orchestrator
        places = places_of(orchestrator)
        try:
            caller = _admit(request, scope)
            within(orchestrator.upload_rate, caller.name, a_minute)
            if full := places.refusal(caller.name, at_once):
                raise busy(full)
        except ApiError as refusal:
            raise await refused(request, refusal, _UNREAD_BYTES) from None
        with places.one(caller.name):
            return await endpoint(request)

    return answer


def guarded_socket(endpoint: SocketEndpoint, scope: Scope | None) -> SocketEndpoint:
    """The endpoint of a WebSocket for callers whose key has the scope, with one of the places for sockets.

    The endpoint accepts the socket, or raises ApiError before that.
    """

    @wraps(endpoint)
    async def answer(socket: WebSocket) -> None:
        orchestrator: Orchestrator = socket.app.state.orchestrator
        try:
            caller = _admit(socket, scope)
            if full := orchestrator.sockets.refusal(caller.name, "open sockets"):
                raise busy(full)
            with orchestrator.sockets.one(caller.name):
                await endpoint(socket)
        except ApiError as refusal:
            await denied(socket, refusal)

    return answer


def caller_of(connection: HTTPConnection) -> Caller:
    """Who asks: by the key that was sent, else by the page's session."""
    orchestrator: Orchestrator = connection.app.state.orchestrator
    address = connection.client.host if connection.client else "unknown"
    session = connection.cookies.get(session_cookie(connection))
    return orchestrator.gate.caller(sent_key(connection), address, session)


def staying(connection: HTTPConnection) -> Callable[[], bool]:
    """Tells later whether what the caller opens here may stay: its key may be removed, its session may end."""
    orchestrator: Orchestrator = connection.app.state.orchestrator
    session = None if sent_key(connection) is not None else connection.cookies.get(session_cookie(connection))
    return partial(orchestrator.gate.still_admits, caller_of(connection), session)


def session_cookie(connection: HTTPConnection) -> str:
    """The name of the page's cookie.

    Browsers send a cookie to all ports of a host: with the port in its name two servers don't overwrite each other's.
    Under TLS the prefix makes browsers refuse one that another host, or a page without TLS, would set.
    """
    orchestrator: Orchestrator = connection.app.state.orchestrator
    prefix = "__Host-" if is_secure(connection) else ""
    return f"{prefix}latentsync_session_{orchestrator.settings.http_port}"


def is_secure(connection: HTTPConnection) -> bool:
    """Whether the browser came by TLS, to us or to the proxy before us."""
    return connection.url.scheme in ("https", "wss")


def busy(reason: str) -> ApiError:
    """The 503 answer of a server that has no capacity left."""
    message = f"The server has too much to do now: {reason}. Try again."
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", message, _RETRY_BUSY_S)


def _admit(connection: HTTPConnection, scope: Scope | None) -> Caller:
    orchestrator: Orchestrator = connection.app.state.orchestrator
    caller = caller_of(connection)
    connection.state.caller = caller.name  # for the log
    within(orchestrator.requests, caller.name, "requests")
    if scope is None:
        return caller
    if caller.scope is None:
        raise _not_let_in(connection)
    if not caller.scope.allows(scope):
        message = f"This key may {caller.scope.value}, and this needs one that may {scope.value}."
        raise ApiError(HTTPStatus.FORBIDDEN, "scope_missing", message)
    if caller.channel is not None and connection.path_params.get("channel_id") != caller.channel:
        message = f"This key may watch channel {caller.channel!r} alone."
        raise ApiError(HTTPStatus.FORBIDDEN, "other_channel", message)
    return caller


def _not_let_in(connection: HTTPConnection) -> ApiError:
    """The 401 answer to a caller without a key, or with one that opens nothing."""
    if sent_key(connection):
        code = "unknown_key"
        message = "There is no such key. Was all of it sent? `latentsync-realtime key list` names those that there are."
    else:
        code = "key_required"
        message = "Send an API key as `Authorization: Bearer KEY`; `latentsync-realtime key add` makes one."
    refusal = ApiError(HTTPStatus.UNAUTHORIZED, code, message)
    refusal.headers["WWW-Authenticate"] = "Bearer"
    return refusal


def within(limit: RateLimit, caller: str, what: str) -> None:
    """Counts one for the caller; raises ApiError (429) where that is too many."""
    wait_s = limit.take(caller)
    if wait_s:
        message = f"These are more {what} a minute than one caller may send. Try again in {wait_s} s."
        raise ApiError(HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests", message, wait_s)
