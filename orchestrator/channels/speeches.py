"""The speeches of one channel: its tasks, from their taking to the end of what is said on the stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from inference.errors import InferenceError
from orchestrator.observability import logs
from orchestrator.observability.ledger import Ledger
from orchestrator.observability.metrics import Metrics
from orchestrator.observability.traces import Traces
from orchestrator.tasks.board import TaskBoard
from orchestrator.tasks.open_logs import unreadable
from orchestrator.tasks.task import Failure, Stage, Task, TaskState
from speech.log import LogUnreadable, SpeechLog
from speech.source import SpeechSource
from speech.speaking import SpeechMaker
from streaming.config import FPS
from streaming.events import ChannelEvent, EndReason, SpeechEncoded, SpeechEnded, SpeechStarted, Status
from streaming.handle import ChannelError, ChannelHandle

Wait = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


@dataclass
class _Active:
    """A task between `take` and the end of its speech on the stream."""

    task: Task
    # An asyncio task, since its clean-up awaits: anyio's scopes cancel such awaits over and over.
    saying: asyncio.Task[None]
    started_at: int | None = None


class ChannelSpeeches:
    """Says the tasks of one channel one after another; all methods are called on the same event loop."""

    def __init__(
        self,
        channel_id: str,
        board: TaskBoard,
        inference_ready: Wait,
        traces: Traces,
        metrics: Metrics,
        ledger: Ledger,
        changed: Callable[[], None],
        all_over: Callable[[], None],
    ) -> None:
        """`changed` is called when another task is taken or over, `all_over` when no task is left that was taken."""
        self.taking = True
        """Whether another task may be taken."""
        self._channel_id = channel_id
        self._board = board
        self._inference_ready = inference_ready
        self._traces = traces
        self._metrics = metrics
        self._ledger = ledger
        self._changed = changed
        self._all_over = all_over
        self._process: ChannelHandle | None = None
        self._active: dict[str, _Active] = {}
        self._taking_scope = anyio.CancelScope()
        self._idle = anyio.Event()
        self._idle.set()

    @property
    def active(self) -> list[str]:
        """Ids of the tasks that are in preparation or play."""
        return list(self._active)

    @property
    def playing(self) -> str | None:
        """Id of the task that is heard."""
        return next((a.task.id for a in self._active.values() if a.started_at is not None), None)

    async def cancel(self, task_id: str) -> Task | None:
        """Cancel a task in any state, and return it with what was heard of it; a speech that plays fades to idle.

        None for one that was over already.
        """
        active = self._active.get(task_id)
        if active is not None:
            active.saying.cancel()
            heard = await self._cancel_speech(task_id)
            if heard is not None:
                self._board.progress(task_id, frames_played=heard)
        cancelled = await self._board.finish(task_id, TaskState.CANCELLED)
        self._forget(task_id)
        return cancelled

    async def interrupt(self, clear_queue: bool) -> list[Task]:
        """Cancel the speech that plays, or the one in preparation; with `clear_queue` everything.

        Returns the tasks that this cancelled, each with what was heard of it.
        """
        taken = self._board.taken(self._channel_id)  # also one that is about to become active
        active = [*self._active, *(task_id for task_id in taken if task_id not in self._active)]
        task_ids = [*active, *self._board.queued(self._channel_id)] if clear_queue else active[:1]
        cancelled = [await self.cancel(task_id) for task_id in task_ids]
        return [task for task in cancelled if task is not None]

    async def drain(self) -> None:
        """Take no more tasks, and return once the tasks that were taken are over."""
        self.taking = False
        self._taking_scope.cancel()
        await self._idle.wait()

    async def work(self, process: ChannelHandle, maker: SpeechMaker) -> None:
        """Take tasks and say them on this process, until it ends or no more are to be taken."""
        self._process = process
        while process.alive and (taken := await self._next()) is not None:
            task, log = taken
            active = _Active(task, asyncio.create_task(self._say(task, log, process, maker), name=f"say-{task.id}"))
            self._active[task.id] = active
            self._idle = anyio.Event()
            self._changed()
            try:
                await asyncio.wait({active.saying})
            finally:
                active.saying.cancel()
                with anyio.CancelScope(shield=True):
                    await asyncio.wait({active.saying})
            if not active.saying.cancelled():
                active.saying.result()

    async def receive(self, event: ChannelEvent) -> None:
        """Note what the process says of a speech."""
        if isinstance(event, SpeechStarted) and event.speech_id in self._active:
            active = self._active[event.speech_id]
            active.started_at = event.position
            task = await self._board.stream(event.speech_id)
            if task is not None:
                is_text = task.source is SpeechSource.TEXT
                metric = self._metrics.text_first_sound_s if is_text else self._metrics.first_frame_s
                metric.observe(task.stamps[Stage.FIRST_FRAME.value] - task.created_at)
        elif isinstance(event, SpeechEncoded):
            self._board.stamp(event.speech_id, Stage.ENCODED_OPUS, event.opus_age_s)
            task = self._board.stamp(event.speech_id, Stage.ENCODED, event.age_s)
            if task is not None:
                self._ledger.enter(task)
        elif isinstance(event, SpeechEnded) and event.speech_id in self._active:
            self._board.progress(
                event.speech_id, frames_played=event.played_frames, frames_dropped=event.dropped_frames
            )
            if event.dropped_frames:
                logger.warning(
                    "task %s: %d of its %d frames were not shown, since the encoder of channel %s was too slow",
                    event.speech_id, event.dropped_frames, event.played_frames, self._channel_id,
                )  # fmt: skip
            completed = event.reason is EndReason.COMPLETED
            self._note_free(event.speech_id)  # before anyone is told: who hears of the end may speak at once
            await self._board.finish(event.speech_id, TaskState.DONE if completed else TaskState.CANCELLED)
            self._forget(event.speech_id)
        elif isinstance(event, Status):
            self._note_played(event)

    def detach(self) -> None:
        """The process is about to be closed: it is asked for nothing more."""
        self._process = None

    async def requeue(self) -> None:
        """Queue the tasks again that were taken; raises nothing, so that the next process can start."""
        for task_id in self._board.taken(self._channel_id):
            try:
                await self._board.requeue(task_id, "its channel stopped", blameless=not self.taking)
            except Exception:  # see above; the task begins again after the server's next start
                logger.exception("task %s was not put back into the queue", task_id)
            self._note_free(task_id)
            self._forget(task_id)

    async def _next(self) -> tuple[Task, SpeechLog] | None:
        """The next task, or None once the channel takes no more."""
        if not self.taking:
            return None
        with anyio.CancelScope() as self._taking_scope:
            await self._inference_ready()
            return await self._board.take(self._channel_id)
        return None

    async def _say(self, task: Task, log: SpeechLog, process: ChannelHandle, maker: SpeechMaker) -> None:
        logs.task_id.set(task.id)  # a context variable of this asyncio task, which its log lines carry
        with self._traces.making(task):
            await self._made(task, log, process, maker)

    async def _made(self, task: Task, log: SpeechLog, process: ChannelHandle, maker: SpeechMaker) -> None:
        try:
            await maker.say(task, log, process)
        except InferenceError as error:
            await self._fail(task.id, Failure(error.code, error.message))
        except LogUnreadable as error:
            await self._fail(task.id, unreadable(error))
        except ChannelError as error:
            if process.alive:
                await self._fail(task.id, Failure("channel_error", str(error)))
            # Else the next process says the speech again.
        except Exception as error:  # an unexpected error ends this task, and not its channel
            logger.exception("task %s", task.id)
            await self._fail(task.id, Failure("internal_error", f"The server failed at this task: {error}"))

    def _note_played(self, status: Status) -> None:
        # What waits for a slow encoder is heard by nobody yet, and an interrupt takes it back.
        given = status.position - round(status.queue_s * FPS)
        for active in self._active.values():
            if active.started_at is not None:
                self._board.progress(active.task.id, frames_played=max(given - active.started_at + 1, 0))

    async def _fail(self, task_id: str, failure: Failure) -> None:
        await self._board.finish(task_id, TaskState.FAILED, failure)
        await self._cancel_speech(task_id)
        self._note_free(task_id)
        self._forget(task_id)

    async def _cancel_speech(self, task_id: str) -> int | None:
        """How many frames of the speech are heard; None where no process plays it any more."""
        if self._process is None or not self._process.alive:
            return None
        try:
            return await self._process.cancel(task_id)
        except ChannelError as error:
            # The process ended, and the speech with it.
            logger.warning("task %s was not cancelled on its channel: %s", task_id, error)
            return None

    def _note_free(self, task_id: str) -> None:
        active = self._active.get(task_id)
        if active is not None and active.started_at is not None:
            self._ledger.freed(self._channel_id)

    def _forget(self, task_id: str) -> None:
        self._active.pop(task_id, None)
        if not self._active:
            self._idle.set()
            self._all_over()
        self._changed()
