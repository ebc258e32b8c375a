"""The channel's end of the control protocol: requests as JSON lines in, replies and events as JSON lines out."""

from __future__ import annotations

import json
import logging
import queue
import threading
from dataclasses import dataclass
from typing import Any, BinaryIO

from streaming.events import ChannelEvent, Status, event_to_json

_log = logging.getLogger(__name__)

_QUEUE = 1024
_SHOWN = 80


@dataclass(frozen=True)
class Request:
    """One line from the parent; every one gets exactly one reply."""

    number: int
    values: dict[str, Any]


class ControlPort:
    """Reads requests and writes replies in two threads of its own; `closed` once nobody is there to talk to."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._requests: queue.Queue[Request] = queue.Queue(_QUEUE)
        self._messages: queue.Queue[bytes | None] = queue.Queue(_QUEUE)
        self._closed = threading.Event()
        self.problem: str | None = None
        """Why no more requests are read, where the parent sent something else."""
        self._source = source
        self._sink = sink
        threading.Thread(target=self._read, name="control-in", daemon=True).start()
        self._writer = threading.Thread(target=self._write, name="control-out", daemon=True)
        self._writer.start()

    @property
    def closed(self) -> bool:
        """True once the parent closed its end, died, or sent what is no request."""
        return self._closed.is_set()

    def next_request(self, within_s: float) -> Request | None:
        """The next request, if there is one within so many seconds; with 0, if it is there."""
        try:
            return self._requests.get(timeout=within_s) if within_s > 0 else self._requests.get_nowait()
        except queue.Empty:
            return None

    def wait_request(self) -> Request | None:
        """The next request; None when the parent is gone."""
        while not self.closed:
            if request := self.next_request(0.2):
                return request
        return None

    def reply(self, request: Request, **values: Any) -> None:
        """Answers a request."""
        self._send({"reply": request.number, **values})

    def emit(self, event: ChannelEvent) -> None:
        """Sends an event; a Status is left out when the parent reads too slowly."""
        if not (isinstance(event, Status) and self._messages.qsize() > _QUEUE // 2):
            self.send_event(event_to_json(event))

    def send_event(self, values: dict[str, Any]) -> None:
        """Sends what is no reply, and has its name under `event`."""
        self._send(values)

    def stop(self) -> None:
        """Lets `wait_request` return as it does when the parent is gone; safe in a signal handler."""
        self._closed.set()

    def close(self) -> None:
        """Waits briefly until all messages are written."""
        try:
            self._messages.put(None, timeout=0.5)
        except queue.Full:
            return  # the parent does not read any more
        self._writer.join(1.0)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._messages.put_nowait(json.dumps(message).encode() + b"\n")
        except queue.Full:
            self._closed.set()  # a parent that reads nothing for so long is treated as gone

    def _read(self) -> None:
        try:
            for line in self._source:
                self._requests.put(_request(line))
        except ValueError as error:
            # What follows can't be trusted either, and a parent that waits for a reply sees the end.
            self.problem = str(error)
            _log.error("%s", error)
        finally:
            self._closed.set()

    def _write(self) -> None:
        while (message := self._messages.get()) is not None:
            try:
                self._sink.write(message)
                self._sink.flush()
            except OSError:
                self._closed.set()
                return


def _request(line: bytes) -> Request:
    try:
        values = json.loads(line)
        return Request(values.pop("request"), values)
    except (ValueError, KeyError, TypeError, AttributeError):
        shown = line[:_SHOWN].decode(errors="replace").rstrip()
        raise ValueError(
            f'standard input must be lines of JSON objects with a number in "request", and one is {shown!r}'
        ) from None
