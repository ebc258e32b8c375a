"""A connection whose client reads nothing of what it is sent is aborted."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import struct
import termios
from collections.abc import Callable

_CHECK_S = 10.0

logger = logging.getLogger(__name__)


class ReadWatch:
    """Runs while a send buffer is full; a client that acknowledges nothing between two checks loses its connection.

    It would hold its place among the listeners, viewers or speakers, and what waits for it, until TCP gives up. One
    that reads slowly stays.
    """

    def __init__(self, transport: asyncio.Transport, path: Callable[[], str]) -> None:
        """`path` says what the client had asked for, for the log."""
        self._transport = transport
        self._path = path
        self._check: asyncio.TimerHandle | None = None
        self._unread_bytes = 0

    def begin(self) -> None:
        """The send buffer is full."""
        self.end()
        self._unread_bytes = self._unread()
        self._check = asyncio.get_running_loop().call_later(_CHECK_S, self._abort_if_stalled)

    def end(self) -> None:
        """The client reads on, or the connection is lost."""
        if self._check is not None:
            self._check.cancel()
            self._check = None

    def _unread(self) -> int:
        """Bytes that the client has not acknowledged: ours, and the kernel's, which takes many at a time."""
        queued = fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return self._transport.get_write_buffer_size() + int(struct.unpack("i", queued)[0])

    def _abort_if_stalled(self) -> None:
        # While the buffer is full nothing is added to it, so it shrinks if and only if the client reads.
        if self._unread() < self._unread_bytes:
            self.begin()
            return
        logger.warning("a client read nothing of %r for %g s: its connection is closed", self._path()[:64], _CHECK_S)
        self._transport.abort()
