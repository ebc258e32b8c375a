"""A Unix socket that gives a live stream to many readers, none of which can hold it up."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from pathlib import Path

_log = logging.getLogger(__name__)

_READER_BYTES = 4 << 20
"""A reader further behind than this (12 s at 2.5 Mbit/s) and the latest group of pictures, which it begins with, is
dropped."""
_BLOCKED_S = 10.0
"""A reader that takes nothing for so long is dropped, however little waits for it: others may need its place."""


class Part(Enum):
    """What a piece of the stream is for a reader that comes later."""

    HEADER = "header"
    """Comes first, and again where it changes."""
    GROUP = "group"
    """Begins a group of pictures: a reader can begin here, after the header."""
    REST = "rest"


class _Reader:
    def __init__(self, connection: socket.socket, clock: Callable[[], float]) -> None:
        self.connection = connection
        self.pending: deque[memoryview] = deque()
        self.pending_bytes = 0
        self._clock = clock
        self._took_at = clock()  # when it last took something, or had taken everything

    @property
    def blocked_s(self) -> float:
        """Seconds for which the reader has taken nothing of what waits for it."""
        return self._clock() - self._took_at if self.pending else 0.0

    def queue(self, data: bytes) -> None:
        if not self.pending:
            self._took_at = self._clock()
        self.pending.append(memoryview(data))
        self.pending_bytes += len(data)

    def send(self) -> None:
        """Sends what the socket takes now; raises OSError when the reader is gone."""
        while self.pending:
            try:
                sent = self.connection.send(self.pending[0])
            except BlockingIOError:
                return
            self._took_at = self._clock()
            self.pending_bytes -= sent
            if sent == len(self.pending[0]):
                self.pending.popleft()
            else:
                self.pending[0] = self.pending[0][sent:]


class Readers:
    """One thread that accepts readers and sends them what is published.

    A reader gets the header, what came since the latest group of pictures began, and then each piece as it comes.
    `on_received` is called in that thread with what a reader sends.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        limit: int,
        on_received: Callable[[bytes], None] = lambda data: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._name = name
        self._limit = limit
        self._on_received = on_received
        self._clock = clock
        self._published: deque[tuple[bytes, Part]] = deque()
        self._header = b""
        self._group: list[bytes] = []
        self._readers: dict[int, _Reader] = {}
        self._closing = False
        self._selector = selectors.DefaultSelector()
        self._listener = _listen(path, name)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake, selectors.EVENT_READ, self._distribute)
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def __len__(self) -> int:
        """Connected readers."""
        return len(self._readers)

    def publish(self, data: bytes, part: Part) -> None:
        """Gives every reader the next piece of the stream; never blocks."""
        self._published.append((data, part))
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Disconnects all readers and removes the socket."""
        self._closing = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        os.close(self._wake)

    def _run(self) -> None:
        while not self._closing:
            for key, events in self._selector.select():
                if isinstance(key.data, _Reader):
                    self._serve(key.data, events)
                else:
                    key.data()
        for reader in list(self._readers.values()):
            self._drop(reader)
        self._listener.close()
        self._selector.close()
        self._path.unlink(missing_ok=True)

    def _distribute(self) -> None:
        os.eventfd_read(self._wake)
        pieces = []
        while self._published:
            data, part = self._published.popleft()
            pieces.append(data)
            if part is Part.HEADER:
                self._header, self._group = data, []
            elif part is Part.GROUP:
                self._group = [data]
            elif self._group:
                self._group.append(data)
        for reader in list(self._readers.values()):
            for data in pieces:
                reader.queue(data)
            self._push(reader)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if len(self._readers) >= self._limit:
            connection.close()
            return
        connection.setblocking(False)
        reader = _Reader(connection, self._clock)
        self._readers[connection.fileno()] = reader
        self._selector.register(connection, selectors.EVENT_READ, reader)
        if self._header:
            for data in (self._header, *self._group):
                reader.queue(data)
            self._push(reader)

    def _serve(self, reader: _Reader, events: int) -> None:
        if reader.connection.fileno() < 0:
            return  # dropped by an earlier event of the same round
        if events & selectors.EVENT_READ:
            with contextlib.suppress(BlockingIOError):
                try:
                    received = reader.connection.recv(4096)
                except ConnectionError:
                    received = b""
                if not received:
                    self._drop(reader)
                    return
                self._on_received(received)
        self._push(reader)

    def _push(self, reader: _Reader) -> None:
        try:
            reader.send()
        except OSError:
            self._drop(reader)
            return
        if reader.pending_bytes > _READER_BYTES + sum(map(len, self._group)) or reader.blocked_s > _BLOCKED_S:
            _log.info(
                "%s: a reader that took nothing for %.1f s, and is %d bytes behind, was dropped",
                self._name, reader.blocked_s, reader.pending_bytes,
            )  # fmt: skip
            self._drop(reader)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if reader.pending else 0)
        self._selector.modify(reader.connection, wanted, reader)

    def _drop(self, reader: _Reader) -> None:
        self._readers.pop(reader.connection.fileno(), None)
        self._selector.unregister(reader.connection)
        reader.connection.close()


def _listen(path: Path, name: str) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # left by a channel that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise OSError(f"{name} socket {path}: {error}") from error
    path.chmod(0o600)
    listener.listen(64)
    listener.setblocking(False)
    return listener
