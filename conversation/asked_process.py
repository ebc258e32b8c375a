"""A process of ours that answers one request after another, and is started again when it dies or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from processes.starvation import starved_s
from processes.tethered import tethered

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 30.0
_LONGEST_LINE = 256 * 1024
_MOST_STARVED = 3  # times the patience with an answer

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")
Taken = TypeVar("Taken", contravariant=True)


class ProcessAway(RuntimeError):
    """The process isn't ready, takes too long, or has too much to do; the message says which."""


class ProcessHung(ProcessAway):
    """An answer took too long; the process is started again."""


class ProcessDied(RuntimeError):
    """The process ended before its answer; `at_it` where it did so by itself while it answered just this request."""

    def __init__(self, message: str, at_it: bool) -> None:
        super().__init__(message)
        self.at_it = at_it


@dataclass(frozen=True)
class Patience:
    """A start may take `start_s`, an answer `answer_s`; a request waits `wait_s` for the start.

    The time in which the process had no core, as on an overloaded machine, isn't counted as that of an answer, up to
    three times `answer_s`. At most `most_waiting` requests wait at once; None leaves that to who asks.
    """

    start_s: float = 60.0
    answer_s: float = 10.0
    wait_s: float = 10.0
    most_waiting: int | None = 8


async def line(output: asyncio.StreamReader) -> bytes:
    """The next line; raises IncompleteReadError at the end."""
    return await output.readuntil(b"\n")


class _Asked(Protocol[Taken]):
    """A request that is under way."""

    def take(self, answer: Taken) -> bool:
        """The next answer; returns whether it was the last one to this request."""
        ...

    def fail(self, error: Exception) -> None:
        """No further answer comes."""
        ...


class _OneAnswer(Generic[Answer]):
    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def take(self, answer: Answer) -> bool:
        if not self.answer.done():  # else nobody waits for it any more
            self.answer.set_result(answer)
        return True

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class _ManyAnswers(Generic[Answer]):
    """Who asks says how many there may be, so the queue needs no bound of its own."""

    def __init__(self, is_last: Callable[[Answer], bool]) -> None:
        self.answers: asyncio.Queue[Answer | Exception] = asyncio.Queue()
        self.is_over = False
        self.is_left = False
        self._is_last = is_last

    def take(self, answer: Answer) -> bool:
        self.is_over = self._is_last(answer)
        if not self.is_left:
            self.answers.put_nowait(answer)
        return self.is_over

    def fail(self, error: Exception) -> None:
        self.is_over = True
        self.answers.put_nowait(error)


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
        starved: Callable[[int], float] = starved_s,
    ) -> None:
        """`read` takes one answer from the output, and raises IncompleteReadError at its end.

        `starved` tells for how many seconds the process of an id had no core by now.
        """
        self._name = name
        self._command = command
        self._patience = patience
        self._read = read
        self._starved = starved
        self._process: Process | None = None
        self._ready = asyncio.Event()
        self._asked: deque[_Asked[Answer]] = deque()
        self._answered_s = 0.0  # when the latest answer came
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
        process = await self._ready_process()
        asked = _OneAnswer[Answer]()
        self._send(process, asked, request)
        since_s, starved_s = asyncio.get_running_loop().time(), self._starved(process.pid)
        try:
            while not asked.answer.done():
                await asyncio.wait({asked.answer}, timeout=self._left_s(process, since_s, starved_s))
            return asked.answer.result()
        finally:
            asked.answer.cancel()  # where nobody waits for it any more

    async def ask_for_many(
        self, request: bytes, is_last: Callable[[Answer], bool], stop: bytes
    ) -> AsyncGenerator[Answer, None]:
        """Each answer as it comes, up to the last one; raises ProcessAway and ProcessDied.

        Closing it sends `stop`, which has no answer of its own: the process ends the request by its last answer soon.
        """
        process = await self._ready_process()
        asked = _ManyAnswers(is_last)
        self._send(process, asked, request)
        starved_s = self._starved(process.pid)
        try:
            while True:
                answer = await self._next_of_many(process, asked, starved_s)
                if isinstance(answer, Exception):
                    raise answer
                yield answer
                if is_last(answer):
                    return
        finally:
            asked.is_left = True
            if not asked.is_over and process.stdin is not None and not process.stdin.is_closing():
                process.stdin.write(stop)

    async def _next_of_many(
        self, process: Process, asked: _ManyAnswers[Answer], starved_s: float
    ) -> Answer | Exception:
        since_s = asyncio.get_running_loop().time()
        while True:
            left_s = self._left_s(process, since_s, starved_s)
            try:
                async with asyncio.timeout(left_s):
                    return await asked.answers.get()
            except TimeoutError:
                continue  # the process may have answered someone else

    async def _ready_process(self) -> Process:
        patience = self._patience
        if patience.most_waiting is not None and len(self._asked) >= patience.most_waiting:
            raise ProcessAway(f"{patience.most_waiting} requests wait already")
        try:
            async with asyncio.timeout(patience.wait_s):
                while not self._ready.is_set():  # it may have ended again before this goes on
                    await self._ready.wait()
        except TimeoutError:
            raise ProcessAway(self._problem) from None
        assert self._process is not None
        return self._process

    def _send(self, process: Process, asked: _Asked[Answer], request: bytes) -> None:
        assert process.stdin is not None
        self._asked.append(asked)
        process.stdin.write(request)

    def _left_s(self, process: Process, since_s: float, starved_s: float) -> float:
        """How much longer an answer may take that was asked for at `since_s`; raises ProcessHung where that is over.

        A process that answers others meanwhile isn't hung, only busy, and neither is one that was starved: when it was
        asked it had waited for a core for `starved_s`.
        """
        waited_s, most_s = asyncio.get_running_loop().time() - max(since_s, self._answered_s), self._patience.answer_s
        if waited_s >= most_s:
            most_s += min(_MOST_STARVED * most_s, self._starved(process.pid) - starved_s)
        if waited_s >= most_s:
            raise self._hung(process)
        return most_s - waited_s

    def _hung(self, process: Process) -> ProcessHung:
        self._problem = f"an answer took longer than {self._patience.answer_s:g} s"
        self._ready.clear()  # the next request waits for the next process
        _kill(process)
        return ProcessHung(self._problem)

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
        was_ready = by_itself = False
        try:
            async with asyncio.timeout(self._patience.start_s):
                await self._read(process.stdout)
            self._process, was_ready = process, True
            self._ready.set()
            while True:
                answer = await self._read(process.stdout)
                self._answered_s = asyncio.get_running_loop().time()
                if self._asked[0].take(answer):
                    self._asked.popleft()
        except asyncio.IncompleteReadError:
            if by_itself := not was_ready or self._ready.is_set():  # else it is known already
                self._problem = "the process has ended"
        except TimeoutError:
            self._problem = f"the process was not ready after {self._patience.start_s:g} s"
        finally:
            self._ready.clear()
            _kill(process)
            await process.wait()
            while self._asked:
                self._asked.popleft().fail(ProcessDied(self._problem, at_it=by_itself))
                by_itself = False  # of the others: it was not at them yet
        return was_ready


def _kill(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it may end between the two lines
            process.kill()
