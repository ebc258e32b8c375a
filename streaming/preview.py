"""Serves the live fragmented MP4 on a Unix socket to many readers, none of which can block the stream."""

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
from pathlib import Path

from streaming.mp4_boxes import Fragment, FragmentParser, InitSegment

_log = logging.getLogger(__name__)

_READER_BYTES = 4 << 20  # a reader further behind than this (12 s at 2.5 Mbit/s) is dropped
_BLOCKED_S = 10.0
"""A reader that takes nothing for so long is dropped, however little waits for it: others may need its place."""
_READ_BYTES = 1 << 18
_MAX_READERS = 200


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


class PreviewServer:
    """One thread that reads the encoder's MP4 and sends it on.

    A reader gets the initialisation segment, the fragments since the latest keyframe, and then each fragment as it
    comes. When the encoder is started again, readers get its new initialisation segment and go on.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.codecs = ""
        self._clock = clock
        self.fragments = 0
        self._path = path
        self._selector = selectors.DefaultSelector()
        self._readers: dict[int, _Reader] = {}
        self._init: bytes = b""
        self._since_keyframe: list[bytes] = []
        self._parser = FragmentParser()
        self._source: int | None = None
        self._new_sources: deque[tuple[int, float]] = deque()
        self._closing = False
        self._wake_read, self._wake_write = os.pipe()
        self._listener = _listen(path)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._wake)
        self._thread = threading.Thread(target=self._run, name="preview")
        self._thread.start()

    @property
    def readers(self) -> int:
        """Connected readers."""
        return len(self._readers)

    def attach(self, source: int, start_s: float = 0.0) -> None:
        """Reads next from this descriptor, whose times begin at `start_s`, and closes it at its end."""
        self._new_sources.append((source, start_s))
        os.write(self._wake_write, b"\0")

    def close(self) -> None:
        """Disconnects all readers and removes the socket."""
        self._closing = True
        os.write(self._wake_write, b"\0")
        self._thread.join()
        os.close(self._wake_write)
        os.close(self._wake_read)

    def _run(self) -> None:
        while not self._closing:
            for key, events in self._selector.select():
                if isinstance(key.data, _Reader):
                    self._serve(key.data, events)
                else:
                    key.data()
        for reader in list(self._readers.values()):
            self._drop(reader)
        self._detach()
        for source, _ in self._new_sources:
            os.close(source)
        self._listener.close()
        self._selector.close()
        self._path.unlink(missing_ok=True)

    def _wake(self) -> None:
        os.read(self._wake_read, 64)
        if self._source is None:
            self._attach_next()

    def _attach_next(self) -> None:
        if self._new_sources:
            self._source, start_s = self._new_sources.popleft()
            os.set_blocking(self._source, False)
            self._parser = FragmentParser(start_s)
            self._selector.register(self._source, selectors.EVENT_READ, self._read)

    def _detach(self) -> None:
        if self._source is not None:
            self._selector.unregister(self._source)
            os.close(self._source)
            self._source = None

    def _read(self) -> None:
        assert self._source is not None
        try:
            data = os.read(self._source, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._detach()
            self._attach_next()
            return
        try:
            for segment in self._parser.feed(data):
                self._publish(segment)
        except ValueError as error:
            _log.error("preview: %s; waiting for the next encoder", error)
            self._detach()
            self._attach_next()

    def _publish(self, segment: InitSegment | Fragment) -> None:
        if isinstance(segment, InitSegment):
            self._init = segment.data
            self._since_keyframe = []
            self.codecs = segment.codecs
        else:
            if segment.keyframe:
                self._since_keyframe = []
            if segment.keyframe or self._since_keyframe:
                self._since_keyframe.append(segment.data)
            self.fragments += 1
        for reader in list(self._readers.values()):
            reader.queue(segment.data)
            self._push(reader)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if len(self._readers) >= _MAX_READERS:
            connection.close()
            return
        connection.setblocking(False)
        reader = _Reader(connection, self._clock)
        self._readers[connection.fileno()] = reader
        self._selector.register(connection, selectors.EVENT_READ, reader)
        if self._init:
            for data in (self._init, *self._since_keyframe):
                reader.queue(data)
            self._push(reader)

    def _serve(self, reader: _Reader, events: int) -> None:
        if reader.connection.fileno() < 0:
            return  # dropped by an earlier event of the same round
        if events & selectors.EVENT_READ:
            with contextlib.suppress(BlockingIOError):
                try:
                    gone = not reader.connection.recv(4096)
                except ConnectionError:
                    gone = True
                if gone:
                    self._drop(reader)
                    return
        self._push(reader)

    def _push(self, reader: _Reader) -> None:
        try:
            reader.send()
        except OSError:
            self._drop(reader)
            return
        if reader.pending_bytes > _READER_BYTES or reader.blocked_s > _BLOCKED_S:
            _log.info(
                "preview: a reader that took nothing for %.1f s, and is %d bytes behind, was dropped",
                reader.blocked_s, reader.pending_bytes,
            )  # fmt: skip
            self._drop(reader)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if reader.pending else 0)
        self._selector.modify(reader.connection, wanted, reader)

    def _drop(self, reader: _Reader) -> None:
        self._readers.pop(reader.connection.fileno(), None)
        self._selector.unregister(reader.connection)
        reader.connection.close()


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # left by a channel that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise OSError(f"preview socket {path}: {error}") from error
    path.chmod(0o600)
    listener.listen(64)
    listener.setblocking(False)
    return listener
