"""Uploads on their way into the logs of their tasks: a long one is said while it is still decoded."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from inference import span
from orchestrator.tasks.board import TaskBoard
from orchestrator.tasks.open_logs import unwritable
from orchestrator.tasks.task import Failure, Task
from speech.audio.decoder import DecodeLimits, decode
from speech.audio.errors import AudioError
from speech.audio.frames import FPS
from speech.log import SoundFrames, SpeechLog

# After the first frames. Most uploads are decoded by then, and what is wrong with them is told in the answer; a longer
# one is accepted.
_GRACE_S = 0.3

logger = logging.getLogger(__name__)


class Decodings:
    """Decodes uploads, and owns those that go on after their task was accepted, until `aclose`."""

    def __init__(
        self,
        board: TaskBoard,
        limits: DecodeLimits,
        count_s: Callable[[float], None] = lambda seconds: None,
        grace_s: float = _GRACE_S,
    ) -> None:
        """`count_s` is told the seconds of each speech that has arrived."""
        self._board = board
        self._limits = limits
        self._count_s = count_s
        self._grace_s = grace_s
        self._running: dict[asyncio.Task[None], AsyncExitStack] = {}

    async def accept(self, task: Task, path: Path, held: AsyncExitStack) -> None:
        """Decode a file, and accept its task: whole, or as receiving where that takes longer than the grace.

        Then `held` is taken over, which keeps the file and its place among the decoders, and closed at the end of the
        file. Raises an AudioError, and what `TaskBoard.begin` does; nothing is accepted then.
        """
        decoded = decode(path, self._limits)
        await held.enter_async_context(aclosing(decoded))
        with span.child("decode"):
            blocks, ended = await self._within_grace(decoded)
        if ended:
            await self._board.submit(task, blocks)
            self._count_s(sum(map(len, blocks)) / FPS)
            return
        log = await self._board.begin(task)
        held = held.pop_all()
        rest = self._receive(task.id, log, blocks, decoded, held)
        running = asyncio.create_task(rest, name=f"decode-{task.id}")
        self._running[running] = held
        running.add_done_callback(self._running.pop)

    async def drain(self) -> None:
        """Return once all that was accepted is decoded."""
        while self._running:
            await asyncio.wait(self._running)

    async def aclose(self) -> None:
        """End all of them; after the next start their tasks are said as far as they came."""
        held = list(self._running.values())
        for running in self._running:
            running.cancel()
        await self.drain()
        for each in held:  # one that was cancelled before its first step still has it
            await each.aclose()

    async def _within_grace(self, decoded: AsyncGenerator[SoundFrames, None]) -> tuple[list[SoundFrames], bool]:
        """What is decoded in that time after the first frames, and whether that is all."""
        loop, blocks = asyncio.get_running_loop(), list[SoundFrames]()
        until = math.inf
        async for block in decoded:
            blocks.append(block)
            until = min(until, loop.time() + self._grace_s)
            if loop.time() >= until:
                return blocks, False
        return blocks, True

    async def _receive(
        self,
        task_id: str,
        log: SpeechLog,
        first: Iterable[SoundFrames],
        rest: AsyncGenerator[SoundFrames, None],
        held: AsyncExitStack,
    ) -> None:
        """Append a speech to its log up to its end, whatever that is, and tell the board."""
        failure: Failure | None = None
        try:
            async with held:
                with span.child("decode"):
                    async for block in _joined(first, rest):
                        if log.end is not None:  # cancelled, or said no further for another reason
                            return
                        await log.append(block)
        except AudioError as error:
            failure = Failure(error.code, error.message)
        except OSError as error:
            logger.error("the speech of task %s can't be stored: %s", task_id, error)
            failure = unwritable(error)
        except Exception as error:  # an unexpected error ends this task, and not the server
            logger.exception("task %s", task_id)
            failure = Failure("internal_error", f"The server failed at this upload: {error}")
        if failure is None:
            log.seal()
        else:
            log.break_off(failure.code)
        self._count_s(log.frames / FPS)
        await self._board.received(task_id, failure.message if failure else None)


async def _joined(first: Iterable[SoundFrames], rest: AsyncIterator[SoundFrames]) -> AsyncIterator[SoundFrames]:
    for block in first:
        yield block
    async for block in rest:
        yield block
