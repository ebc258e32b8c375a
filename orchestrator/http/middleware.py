"""What every request goes through: its id, security headers, the check of its origin, and the metrics."""

from __future__ import annotations

import ipaddress
import logging
import time
import uuid
from collections.abc import Callable, Container
from urllib.parse import quote, unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.http.cross_origin import CROSS_ORIGIN, is_whep
from orchestrator.http.errors import error_response
from orchestrator.http.page_routes import CONTENT_SECURITY_POLICY
from orchestrator.http.sent_key import sent_key
from orchestrator.observability import logs
from orchestrator.observability.metrics import Metrics
from orchestrator.observability.traces import Traces

# Each method becomes a label of the metrics and a part of the log, so strangers must not be able to invent them.
_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT")
_UNKNOWN_METHOD = "unknown"
_WEBSOCKET = "WEBSOCKET"  # in the place of a method, which is always GET
_ANSWERS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_POLLED = ("/health/", "/metrics")  # asked every few seconds, for ever
_HTTPS_ONLY_S = 365 * 24 * 3600
_SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Wraps the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        hosts: Container[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        traces: Traces | None = None,
    ) -> None:
        """`hosts` are the names that a request may be for, beside IP addresses; None where its key says enough."""
        self._app = app
        self._hosts = hosts
        self._metrics = metrics
        self._clock = clock
        self._traces = traces or Traces()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _METHODS:
            scope = {**scope, "method": _UNKNOWN_METHOD}  # the name itself may be 64 KB long
        if scope["type"] not in ("http", "websocket"):
            raise RuntimeError(f"nothing is served over {scope['type']!r} here, so nothing guards it")
        if scope["type"] == "websocket" or scope["method"] in (*_SAFE_METHODS, _UNKNOWN_METHOD):
            # Without a span: polled by many and soon answered, or open for hours. A speech has one of its own.
            await self._answer(scope, receive, send)
            return
        with self._traces.request(scope["method"], _shown_path(scope), Headers(scope=scope)) as span:

            async def send_noted(message: Message) -> None:
                if span is not None and message["type"] == "http.response.start":
                    span.note({"http.response.status_code": message["status"], "http.route": _route(scope)})
                    if message["status"] >= 500:
                        span.fail(f"answered with {message['status']}")
                await send(message)

            await self._answer(scope, receive, send_noted)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = _method(scope)
        request_id, began = uuid.uuid4().hex[:12], self._clock()
        logs.request_id.set(request_id)  # uvicorn runs each request in a context of its own

        async def send_with_headers(message: Message) -> None:
            if message["type"] in _ANSWERS:
                message.setdefault("headers", [])
                status = message.get("status", 101)
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)  # the embedded player says itself who may frame it
                if scope["scheme"] in ("https", "wss"):
                    headers["Strict-Transport-Security"] = f"max-age={_HTTPS_ONLY_S}"
                headers.setdefault("Cache-Control", "no-store")
                if self._hosts is None and is_whep(scope["path"]):
                    headers.update(CROSS_ORIGIN)
                self._count(scope, status, self._clock() - began)
                level = logging.DEBUG if scope["path"].startswith(_POLLED) else logging.INFO
                path = _shown_path(scope)
                fields = {
                    "method": method,
                    "path": path,
                    "status": status,
                    "duration_ms": round(1000 * (self._clock() - began)),
                    "caller": scope.get("state", {}).get("caller", ""),
                }
                logger.log(level, "%s %s %d", method, path, status, extra={"fields": fields})
            await send(message)

        if method == _UNKNOWN_METHOD:
            message = f"The method is none of {', '.join(_METHODS)}."
            await error_response(501, "unknown_method", message)(scope, receive, send_with_headers)
            return
        headers = Headers(scope=scope)
        if self._hosts is not None and not _is_ours(headers.get("host", ""), self._hosts):
            message = "The server is not known by this name: call it by its address, or name it in allowed_hosts."
            await error_response(421, "unknown_host", message)(scope, receive, send_with_headers)
            return
        if method not in _SAFE_METHODS and not _same_origin(headers) and not self._brings_key(scope):
            message = "Requests that change something are not taken from other sites' pages."
            await error_response(403, "foreign_origin", message)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _brings_key(self, scope: Scope) -> bool:
        """Whether a WebSocket or a WHEP player proves by a key that its page may come; a cookie comes with any page."""
        may = scope["type"] == "websocket" or is_whep(scope["path"])
        return may and self._hosts is None and sent_key(HTTPConnection(scope)) is not None

    def _count(self, scope: Scope, status: int, duration_s: float) -> None:
        # The route's pattern, not the path: an unbounded set of paths must not become labels.
        route = _route(scope)
        self._metrics.requests.labels(_method(scope) if route != "none" else "any", route, status).inc()
        self._metrics.request_s.labels(route).observe(duration_s)


def _method(scope: Scope) -> str:
    return str(scope.get("method", _WEBSOCKET))


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "none")


def _shown_path(scope: Scope) -> str:
    """The path for logs and traces: with its escapes, so that it can't end the line and begin a false one.

    An address or a key that was sent as a part of the path is masked, also where its characters are escaped.
    """
    sent = scope.get("raw_path", b"").decode("ascii", "backslashreplace")
    decoded = unquote(sent)
    masked = logs.without_secrets(decoded)
    return sent if masked == decoded else quote(masked, safe="/:*")


def _is_ours(host: str, names: Container[str]) -> bool:
    """False for a name that a foreign page's owner may have pointed at this machine, to read what it answers."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return not name or name in names or ipaddress.ip_address(name) is not None
    except ValueError:
        return False


def _same_origin(headers: Headers) -> bool:
    """False for a browser that sends a form from another site's page: a form needs no permission to be sent."""
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == headers.get("host")
    except ValueError:  # an address of IPv6 without its end
        return False
