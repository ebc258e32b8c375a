"""One HTTP connection, which ends when its client no longer reads."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import struct
import termios
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_CHECK_S = 10.0

logger = logging.getLogger(__name__)


class Connection(H11Protocol):
    """Uvicorn's connection with a limit on blocked sends.

    A client that stops reading would hold its place among the listeners or viewers, and the events or the bytes that
    wait for it, until TCP gives up. The connection is aborted when the client acknowledged nothing between two checks
    while the send buffer is full; a client that reads slowly stays.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._check: asyncio.TimerHandle | None = None
        self._unread_bytes = 0

    def pause_writing(self) -> None:
        """The send buffer is full."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The client reads on."""
        self._stop_watching()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Also after an abort."""
        self._stop_watching()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Nothing was asked for a while; an answer that was not even read must not keep the socket open."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _watch(self) -> None:
        self._stop_watching()
        self._unread_bytes = self._unread()
        self._check = self.loop.call_later(_CHECK_S, self._abort_if_stalled)

    def _stop_watching(self) -> None:
        if self._check is not None:
            self._check.cancel()
            self._check = None

    def _unread(self) -> int:
        """Bytes that the client has not acknowledged: ours, and the kernel's, which takes many at a time."""
        queued = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return self.transport.get_write_buffer_size() + int(struct.unpack("i", queued)[0])

    def _abort_if_stalled(self) -> None:
        # While the buffer is full nothing is added to it, so it shrinks if and only if the client reads.
        if self._unread() < self._unread_bytes:
            self._watch()
            return
        path = self.scope["path"] if self.scope else ""
        logger.warning("a client read nothing of %r for %g s: its connection is closed", path[:64], _CHECK_S)
        self.transport.abort()
