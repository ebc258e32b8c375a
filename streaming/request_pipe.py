"""The parent's end of the control protocol (control.py): requests out, replies and events in, as JSON lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any


class ChildGone(ConnectionError):
    """The child process ended, or reads nothing any more."""


class RequestPipe:
    """Requests to one child process; all methods belong to one event loop."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """The process must have pipes for its standard input and output."""
        self._process = process
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next_request = 0

    async def request(self, message: dict[str, Any]) -> dict[str, Any]:
        """Sends a request and returns its reply, which has `error` where it was refused; raises ChildGone."""
        request, self._next_request = self._next_request, self._next_request + 1
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies[request] = reply
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"request": request, **message}).encode() + b"\n")
            await self._process.stdin.drain()
            return await reply
        except ConnectionError as error:
            raise ChildGone(str(error)) from error
        finally:
            self._replies.pop(request, None)
            # A failed reply holds its error, whose traceback holds this frame: the channel, and its caller's data.
            del reply

    async def read(self, on_event: Callable[[dict[str, Any]], None]) -> None:
        """Hands out replies and events until the child closes its end; raises ValueError for what is no JSON."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            message = json.loads(line)
            if "reply" in message:
                future = self._replies.get(message.pop("reply"))
                if future is not None and not future.done():
                    future.set_result(message)
            else:
                on_event(message)

    def fail(self, reason: str) -> None:
        """Lets all requests that wait for their reply raise ChildGone."""
        for future in self._replies.values():
            if not future.done():
                future.set_exception(ChildGone(reason))
