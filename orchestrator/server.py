"""The HTTP server, and its shutdown as an ordered list."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import socket
import ssl
from collections.abc import Callable, Iterator

import anyio
import uvicorn

from orchestrator.exclusive import serving
from orchestrator.http.app import create_app
from orchestrator.http.connection import Connection
from orchestrator.http.web_socket import UVICORN_OPTIONS, WebSocketConnection
from orchestrator.orchestrator import Orchestrator
from orchestrator.settings import Settings
from processes.freed_memory import give_back_freed_memory
from processes.garbage import freeze_what_is_there
from processes.stop_signals import StopSignals

_CONNECTIONS_LIMIT_S = 5
_SOCKETS_LIMIT_S = 2
# Longer than clients and proxies keep theirs. The side that sends the next request must close first; otherwise a
# request may be sent on a connection that is being closed.
_KEEP_ALIVE_S = 75

logger = logging.getLogger(__name__)


class ServerFailed(RuntimeError):
    """The server can't listen, or its certificate can't be used; the message says why."""


class OrchestratorServer(uvicorn.Server):
    """Shuts down in this order: refuse new tasks → drain, with a limit → end streams → close connections → channels."""

    def __init__(self, orchestrator: Orchestrator, started: Callable[[], None] = lambda: None) -> None:
        """Raises ServerFailed where the certificate of the settings can't be used."""
        settings = orchestrator.settings
        _require_usable_certificate(settings)
        super().__init__(
            uvicorn.Config(
                create_app(orchestrator),
                http=Connection,
                ws=WebSocketConnection,
                host=settings.http_host,
                port=settings.http_port,
                ssl_certfile=settings.https_certificate,
                ssl_keyfile=settings.https_key,
                lifespan="off",  # the orchestrator runs around the server: when it fails, the server ends
                log_config=None,
                access_log=False,  # the middleware writes one with the request's id
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_CONNECTIONS_LIMIT_S,
                **UVICORN_OPTIONS,
            )
        )
        self._orchestrator = orchestrator
        self._started = started
        self._draining = anyio.CancelScope()

    def stop(self) -> None:
        """Begin the shutdown; a second call doesn't wait for the speeches that play."""
        if self.should_exit:
            self._draining.cancel()
        self.should_exit = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Run the orchestrator, and answer requests until `stop`.

        Raises ServerFailed where the address is taken, before anything else is touched, and the error of a part of the
        orchestrator that can't begin again.
        """
        listening = sockets or [_bound(self.config.host, self.config.port)]
        try:
            with _wyoming_socket(self._orchestrator.settings) as of_wyoming:
                door = _wyoming_door(self._orchestrator, of_wyoming)
                async with self._orchestrator.running(), door:
                    await super().serve(listening)
        finally:
            for server in getattr(self, "servers", ()):  # there from `startup` on; open still where that was cut short
                server.close()
            for each in listening:
                each.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Call back once requests are answered."""
        await super().startup(sockets)
        if self.started:
            self._orchestrator.service_manager.ready()
            self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain the channels before uvicorn's own shutdown, which begins by closing connections."""
        orchestrator = self._orchestrator
        orchestrator.stop_accepting()
        orchestrator.service_manager.stopping()
        logger.info("stopping: speeches that play may go on for %.0f s", orchestrator.settings.drain_limit_s)
        with self._draining:
            await orchestrator.drain(orchestrator.settings.drain_limit_s)
        orchestrator.end_streams()
        with anyio.move_on_after(_SOCKETS_LIMIT_S):  # they say goodbye themselves; uvicorn would only cut them off
            await orchestrator.sockets.empty()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the caller: uvicorn would raise them again after the shutdown, and exit with 143."""
        yield


async def serve(settings: Settings, signals: StopSignals) -> None:
    """Run the orchestrator until a signal.

    Raises SettingsError, AvatarError, CheckpointError, LockRefused, ServerFailed, TaskStoreError.
    """
    orchestrator = Orchestrator(settings)  # touches nothing yet
    with serving(settings, "serve"):
        await run_server(orchestrator, signals)


async def run_server(
    orchestrator: Orchestrator, signals: StopSignals, started: Callable[[], None] = lambda: None
) -> None:
    """Run the HTTP server until a signal; calls `started` once it listens.

    What encoding costs on this machine is measured meanwhile, where it isn't known.
    """
    give_back_freed_memory()  # faces come in arrays of megabytes, and more of them in some speeches than in others

    def begun() -> None:
        freeze_what_is_there()
        started()

    server = OrchestratorServer(orchestrator, begun)
    signals.action = server.stop
    orchestrator.encoder_costs.measure_in_background()
    try:
        await server.serve()
    finally:
        signals.ignore()
        gc.unfreeze()
        orchestrator.encoder_costs.close()


def require_free_address(settings: Settings) -> None:
    """Raises ServerFailed where the server couldn't listen now."""
    _bound(settings.http_host, settings.http_port).close()
    with _wyoming_socket(settings):
        pass


def _wyoming_socket(settings: Settings) -> socket.socket | contextlib.nullcontext[None]:
    """Where Wyoming is spoken, if it is."""
    port = settings.wyoming_port
    return contextlib.nullcontext() if port is None else _bound(settings.wyoming_host, port)


def _wyoming_door(
    orchestrator: Orchestrator, listening: socket.socket | None
) -> contextlib.AbstractAsyncContextManager[None]:
    """Raises ServerFailed where the package is missing."""
    if listening is None:
        return contextlib.nullcontext()
    try:
        from orchestrator.http.agents.wyoming.door import wyoming_door
    except ImportError as error:
        message = f"wyoming_port needs what isn't installed ({error}): pip install -e '.[agents]'"
        raise ServerFailed(message) from None
    return wyoming_door(orchestrator, listening)


def _require_usable_certificate(settings: Settings) -> None:
    if settings.https_certificate is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.https_certificate, settings.https_key)
    except OSError as error:  # ssl.SSLError too
        files = f"https_certificate={settings.https_certificate} and https_key={settings.https_key}"
        raise ServerFailed(f"{files} can't be used ({error}): they must be a PEM certificate and its key") from None


def _bound(host: str, port: int) -> socket.socket:
    """A socket on the first address of that name; nobody can connect until the server listens."""
    listening = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
    except OSError as error:
        if listening is not None:
            listening.close()
        taken = error.errno == errno.EADDRINUSE
        remedy = "stop what listens there, or choose another port" if taken else "choose another host or port"
        raise ServerFailed(f"the server can't listen on {host}:{port} ({error.strerror}): {remedy}") from None
    return listening
