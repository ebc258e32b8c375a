"""The HTTP server, and its shutdown as an ordered list."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator

import anyio
import uvicorn

from orchestrator.http.app import create_app
from orchestrator.service import Service

_CONNECTIONS_LIMIT_S = 5
# Longer than clients and proxies keep theirs: who closes first must be the one that sends next, or a request meets a
# connection that is closed this moment.
_KEEP_ALIVE_S = 75

logger = logging.getLogger(__name__)


class OrchestratorServer(uvicorn.Server):
    """Stops in this order: no new tasks → what plays is played, with a limit → streams end → connections → channels."""

    def __init__(self, service: Service, started: Callable[[], None] = lambda: None) -> None:
        settings = service.settings
        super().__init__(
            uvicorn.Config(
                create_app(service),
                host=settings.http_host,
                port=settings.http_port,
                log_config=None,
                access_log=False,  # the middleware writes one with the request's id
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_CONNECTIONS_LIMIT_S,
            )
        )
        self._service = service
        self._started = started
        self._draining = anyio.CancelScope()

    def stop(self) -> None:
        """Begin the shutdown; a second call doesn't wait for what plays."""
        if self.should_exit:
            self._draining.cancel()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell the caller once requests are answered."""
        await super().startup(sockets)
        if self.started:
            self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn's own shutdown closes connections first; before that the stream comes to an orderly end."""
        service = self._service
        service.stop_accepting()
        logger.info("stopping: what plays may play on for %.0f s", service.settings.drain_limit_s)
        with self._draining:
            await service.drain(service.settings.drain_limit_s)
        service.end_streams()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are our caller's: uvicorn would raise them again after the shutdown, and end with 143."""
        yield
