"""A process of ours that answers one request after another, and is started again when it dies or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from processes.tethered import tethered

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 30.0
_LONGEST_LINE = 256 * 1024

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class ProcessAway(RuntimeError):
    """The process isn't ready, takes too long, or has too much to do; the message says which."""


class ProcessHung(ProcessAway):
    """An answer took too long; the process is started again."""


class ProcessDied(RuntimeError):
    """The process ended before its answer."""


@dataclass(frozen=True)
class Patience:
    """A start may take `start_s`, an answer `answer_s`; a request waits `wait_s` for the start.

    At most `most_waiting` requests wait at once; None leaves that to who asks.
    """

    start_s: float = 60.0
    answer_s: float = 10.0
    wait_s: float = 10.0
    most_waiting: int | None = 8


async def line(output: asyncio.StreamReader) -> bytes:
    """The next line; raises IncompleteReadError at the end."""
    return await output.readuntil(b"\n")


class AskedProcess(Generic[Answer]):
    """Requests are bytes at its standard input, answers come at its standard output, in the same order.

    It writes a first answer unasked once it is ready.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        patience: Patience,
        read: Callable[[asyncio.StreamReader], Awaitable[Answer]],
    ) -> None:
        """`read` takes one answer from the output, and raises IncompleteReadError at its end."""
        self._name = name
        self._command = command
        self._patience = patience
        self._read = read
        self._process: Process | None = None
        self._ready = asyncio.Event()
        self._asked: deque[asyncio.Future[Answer]] = deque()
        self._problem = "it has not started yet"

    async def run(self) -> None:
        """Keep the process running until this is cancelled."""
        pause_s = _FIRST_PAUSE_S
        while True:
            was_ready = await self._serve()
            pause_s = _FIRST_PAUSE_S if was_ready else min(2 * pause_s, _LONGEST_PAUSE_S)
            logger.error("%s: %s; again in %.1f s", self._name, self._problem, pause_s)
            await asyncio.sleep(pause_s)

    async def ask(self, request: bytes) -> Answer:
        """What answers; raises ProcessAway and ProcessDied."""
        patience = self._patience
        if patience.most_waiting is not None and len(self._asked) >= patience.most_waiting:
            raise ProcessAway(f"{patience.most_waiting} requests wait already")
        try:
            async with asyncio.timeout(patience.wait_s):
                while not self._ready.is_set():  # it may have ended again before this goes on
                    await self._ready.wait()
        except TimeoutError:
            raise ProcessAway(self._problem) from None
        process = self._process
        assert process is not None and process.stdin is not None
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        process.stdin.write(request)
        try:
            async with asyncio.timeout(patience.answer_s):
                return await answer
        except TimeoutError:
            self._problem = f"an answer took longer than {patience.answer_s:g} s"
            _kill(process)
            raise ProcessHung(self._problem) from None

    async def _serve(self) -> bool:
        """Run one process to its end; returns whether it became ready."""
        try:
            process = await asyncio.create_subprocess_exec(
                *tethered(*self._command), stdin=PIPE, stdout=PIPE, start_new_session=True, limit=_LONGEST_LINE
            )
        except OSError as error:
            self._problem = f"the process can't be started ({error.strerror})"
            return False
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._patience.start_s):
                await self._read(process.stdout)
            self._process = process
            self._ready.set()
            while True:
                answer = await self._read(process.stdout)
                if not (asked := self._asked.popleft()).done():  # else nobody waits for it any more
                    asked.set_result(answer)
        except asyncio.IncompleteReadError:
            self._problem = "the process has ended"
        except TimeoutError:
            self._problem = f"the process was not ready after {self._patience.start_s:g} s"
        finally:
            was_ready = self._ready.is_set()
            self._ready.clear()
            _kill(process)
            await process.wait()
            while self._asked:
                if not (asked := self._asked.popleft()).done():
                    asked.set_exception(ProcessDied(self._problem))
        return was_ready


def _kill(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it may end between the two lines
            process.kill()
