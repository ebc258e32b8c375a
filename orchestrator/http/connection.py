"""One HTTP connection, which ends when its client no longer reads."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.http.read_watch import ReadWatch


class Connection(H11Protocol):
    """Uvicorn's connection with a limit on blocked sends."""

    _watch: ReadWatch

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._watch = ReadWatch(transport, lambda: self.scope["path"] if self.scope else "")

    def pause_writing(self) -> None:
        """The send buffer is full."""
        super().pause_writing()
        self._watch.begin()

    def resume_writing(self) -> None:
        """The client reads on."""
        self._watch.end()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Also after an abort."""
        self._watch.end()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Nothing was asked for a while; an answer that was not even read must not keep the socket open."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.transport.abort()
