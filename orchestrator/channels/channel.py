"""A channel: supervises its process, and says its tasks one after another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import anyio

from inference.errors import InferenceError
from orchestrator.channels.backoff import RestartDelay
from orchestrator.channels.definition import ChannelDefinition
from orchestrator.channels.motions import Motions
from orchestrator.channels.overload import OverloadLog
from orchestrator.channels.setup import ChannelSetup, socket_path
from orchestrator.channels.target_log import TargetLog
from orchestrator.channels.view import ChannelState, ChannelView
from orchestrator.exclusive import LockRefused, playing_avatar
from orchestrator.observability import logs
from orchestrator.observability.ledger import Ledger
from orchestrator.observability.metrics import Metrics
from orchestrator.observability.notices import Broadcast
from orchestrator.tasks.board import TaskBoard
from orchestrator.tasks.open_logs import unreadable
from orchestrator.tasks.task import Failure, Stage, Task, TaskState
from speech.log import LogUnreadable, SpeechLog
from speech.source import SpeechSource
from speech.speaking import SpeechMaker
from streaming.events import (
    ChannelDied,
    ChannelEvent,
    EndReason,
    MotionEnded,
    MotionStarted,
    SpeechEncoded,
    SpeechEnded,
    SpeechStarted,
    Status,
)
from streaming.handle import ChannelError, ChannelHandle

_SILENT_S = 10.0

Wait = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


@dataclass
class _Active:
    """A task between `take` and the end of its speech on the stream."""

    task: Task
    # An asyncio task, since its clean-up awaits: anyio's scopes cancel such awaits over and over.
    saying: asyncio.Task[None]
    started_at: int | None = None


class Channel:
    """Runs one channel until its `run` is cancelled; all other methods are called on the same event loop."""

    def __init__(
        self,
        definition: ChannelDefinition,
        setup: ChannelSetup,
        board: TaskBoard,
        inference_ready: Wait,
        notices: Broadcast,
        metrics: Metrics,
        ledger: Ledger,
    ) -> None:
        self.definition = definition
        self.id = definition.channel
        self.preview_socket = socket_path(setup.settings, definition.channel, "preview")
        self.packet_socket = socket_path(setup.settings, definition.channel, "packets")
        self.viewers = 0
        self._setup = setup
        self._board = board
        self._maker: SpeechMaker | None = None
        self.motions = Motions(self.id, notices, lambda: self.definition)
        self._inference_ready = inference_ready
        self._notices = notices
        self._metrics = metrics
        self._ledger = ledger
        self._process: ChannelHandle | None = None
        self._avatar_lock = ExitStack()
        self._holds_avatar = False
        self._active: dict[str, _Active] = {}
        self._state = ChannelState.STARTING
        self._status: Status | None = None
        self._targets = TargetLog(self.id)
        self._overload = OverloadLog(self.id, anyio.current_time)
        self._problem: str | None = None
        self._refused: Mapping[str, str] = {}
        self._restarts = 0
        self._silence = anyio.CancelScope()
        self._taking = True
        self._taking_scope = anyio.CancelScope()
        self._running = anyio.CancelScope()
        self._idle = anyio.Event()
        self._idle.set()

    @property
    def view(self) -> ChannelView:
        """How the channel is now."""
        playing = next((a.task.id for a in self._active.values() if a.started_at is not None), None)
        return ChannelView(
            id=self.id,
            definition=self.definition.as_json(),
            state=self._state,
            playing=playing,
            preparing=tuple(task_id for task_id in self._active if task_id != playing),
            waiting=self._board.waiting(self.id),
            restarts=self._restarts,
            problem=self._problem,
            status=self._status if self._state is ChannelState.RUNNING else None,
            refused=self._refused,
            motions=self.motions.names,
            motion=self.motions.playing,
        )

    @property
    def active(self) -> list[str]:
        """Ids of the tasks that are in preparation or play."""
        return list(self._active)

    @property
    def pid(self) -> int | None:
        """Process id of the channel's process, None while there is none."""
        return self._process.pid if self._process is not None else None

    async def run(self) -> None:
        """Keep the channel's process running and say its tasks, until `stop`."""
        delay = RestartDelay()
        try:
            with self._running:
                while True:
                    started_at: float | None = None
                    try:
                        process = await self._start()
                        started_at = anyio.current_time()
                        self._problem = await self._serve(process)
                    # OSError includes TimeoutError; ValueError is a missing or damaged avatar.
                    except (ChannelError, LockRefused, OSError, ValueError) as error:
                        self._problem = str(error) or "the channel's process did not start in time"
                    except Exception as error:  # an unexpected error ends this process, and not the other channels
                        logger.exception("channel %s", self.id)
                        self._problem = f"the server failed at this channel: {error}"
                    finally:
                        ran_s = 0.0 if started_at is None else anyio.current_time() - started_at
                        await self._end_process()
                    delay_s = delay.after(ran_s)
                    logger.error("channel %s: %s; again in %.1f s", self.id, self._problem, delay_s)
                    self._restarts += 1
                    self._change(ChannelState.RESTARTING)
                    await anyio.sleep(delay_s)
        finally:
            self._avatar_lock.close()
            self._change(ChannelState.CLOSED)

    def stop(self) -> None:
        """Let `run` end; tasks that were taken are queued again, and the attempt doesn't count."""
        self._taking = False
        self._running.cancel()

    async def set_targets(self, definition: ChannelDefinition) -> None:
        """Publish to the targets of `definition`, which is the channel's own but for them; nothing is interrupted.

        Raises ChannelError when the channel's process refuses them; then the targets stay as they were.
        """
        addresses = await asyncio.to_thread(self._setup.addresses, definition)
        process = self._process
        if process is not None and process.alive:
            try:
                await process.set_targets(addresses)
            except ChannelError:
                if process.alive:
                    raise
                # The process ended: the next one starts with them.
        self.definition = definition
        self._refused = await asyncio.to_thread(self._setup.refused_targets, definition)
        self._change()

    async def _start(self) -> ChannelHandle:
        if not self._holds_avatar:  # from the first process on, and also between two of them
            self._avatar_lock.enter_context(playing_avatar(self._setup.settings, self.definition.avatar))
            self._holds_avatar = True
        definition = self.definition
        avatar = await asyncio.to_thread(self._setup.avatar, definition)
        config = await asyncio.to_thread(self._setup.config, definition)
        self._refused = await asyncio.to_thread(self._setup.refused_targets, definition)
        path = await asyncio.to_thread(self.motions.prepare, avatar)
        self._maker = self._setup.maker(definition, avatar, path)
        with anyio.CancelScope(shield=True):  # a half-started process could not be closed
            self._process = process = await ChannelHandle.start(config)
        self.motions.attach(process)
        while definition is not self.definition:  # its targets were changed meanwhile, by `set_targets`
            definition = self.definition
            await process.set_targets(await asyncio.to_thread(self._setup.addresses, definition))
        return process

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
        taken = self._board.taken(self.id)  # also one that is about to become active
        active = [*self._active, *(task_id for task_id in taken if task_id not in self._active)]
        task_ids = [*active, *self._board.queued(self.id)] if clear_queue else active[:1]
        cancelled = [await self.cancel(task_id) for task_id in task_ids]
        return [task for task in cancelled if task is not None]

    async def drain(self) -> None:
        """Take no more tasks, and return once the tasks that were taken are over."""
        self._taking = False
        self._taking_scope.cancel()
        await self._idle.wait()

    async def _serve(self, process: ChannelHandle) -> str:
        """Work until the process dies; returns why it did."""
        self._problem = None
        self._overload = OverloadLog(self.id, anyio.current_time)
        self._change(ChannelState.RUNNING)
        logger.info("channel %s is running", self.id)
        reason = "the channel's process closed its end"
        async with anyio.create_task_group() as group:
            group.start_soon(self._work, process)
            group.start_soon(self._watch, process)
            self.motions.start(group, lambda: not self._active)
            async for event in process.events():
                self._silence.deadline = anyio.current_time() + _SILENT_S
                if isinstance(event, ChannelDied):
                    reason = event.message
                await self._receive(event)
            group.cancel_scope.cancel()
        return reason

    async def _watch(self, process: ChannelHandle) -> None:
        """The watchdog: kills a process that hangs, since a healthy one reports each second."""
        with anyio.move_on_after(_SILENT_S) as self._silence:
            await anyio.sleep_forever()
        logger.error("channel %s has not reported for %.0f s: killed", self.id, _SILENT_S)
        process.kill()

    async def _work(self, process: ChannelHandle) -> None:
        while process.alive and (taken := await self._next()) is not None:
            task, log = taken
            active = _Active(task, asyncio.create_task(self._say(task, log, process), name=f"say-{task.id}"))
            self._active[task.id] = active
            self._idle = anyio.Event()
            self._change()
            try:
                await asyncio.wait({active.saying})
            finally:
                active.saying.cancel()
                with anyio.CancelScope(shield=True):
                    await asyncio.wait({active.saying})
            if not active.saying.cancelled():
                active.saying.result()

    async def _next(self) -> tuple[Task, SpeechLog] | None:
        """The next task, or None once the channel takes no more."""
        if not self._taking:
            return None
        with anyio.CancelScope() as self._taking_scope:
            await self._inference_ready()
            return await self._board.take(self.id)
        return None

    async def _say(self, task: Task, log: SpeechLog, process: ChannelHandle) -> None:
        logs.task_id.set(task.id)  # a context variable of this asyncio task, which its log lines carry
        with self._setup.traces.making(task):
            await self._made(task, log, process)

    async def _made(self, task: Task, log: SpeechLog, process: ChannelHandle) -> None:
        assert self._maker is not None
        try:
            await self._maker.say(task, log, process)
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

    async def _receive(self, event: ChannelEvent) -> None:
        if isinstance(event, MotionStarted | MotionEnded):
            await self.motions.note(event)
        elif isinstance(event, Status):
            self._status = self._setup.as_defined(event)
            self._targets.note(self._status.targets)
            self._overload.note(event)
            self._note_played(event)
        elif isinstance(event, SpeechStarted) and event.speech_id in self._active:
            active = self._active[event.speech_id]
            active.started_at = event.position
            task = await self._board.stream(event.speech_id)
            if task is not None:
                is_text = task.source is SpeechSource.TEXT
                metric = self._metrics.text_first_sound_s if is_text else self._metrics.first_frame_s
                metric.observe(task.stamps[Stage.FIRST_FRAME.value] - task.created_at)
        elif isinstance(event, SpeechEncoded):
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
                    event.speech_id, event.dropped_frames, event.played_frames, self.id,
                )  # fmt: skip
            completed = event.reason is EndReason.COMPLETED
            self._note_free(event.speech_id)  # before anyone is told: who hears of the end may speak at once
            await self._board.finish(event.speech_id, TaskState.DONE if completed else TaskState.CANCELLED)
            self._forget(event.speech_id)
        self._change()

    def _note_played(self, status: Status) -> None:
        for active in self._active.values():
            if active.started_at is not None:
                self._board.progress(active.task.id, frames_played=max(status.position - active.started_at + 1, 0))

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
            self._ledger.freed(self.id)

    def _forget(self, task_id: str) -> None:
        self._active.pop(task_id, None)
        if not self._active:
            self._idle.set()
            self.motions.release()
        self._change()

    async def _end_process(self) -> None:
        """Close the process and queue its tasks again; raises nothing, so that the next process can start."""
        with anyio.CancelScope(shield=True):
            process, self._process = self._process, None
            self._status = None
            if process is not None:
                try:
                    await process.aclose()
                except Exception:  # see above
                    logger.exception("channel %s: its process was not closed in order", self.id)
                    process.kill()
            for task_id in self._board.taken(self.id):
                try:
                    await self._board.requeue(task_id, "its channel stopped", blameless=not self._taking)
                except Exception:  # see above; the task begins again after the server's next start
                    logger.exception("task %s was not put back into the queue", task_id)
                self._note_free(task_id)
                self._forget(task_id)

    def _change(self, state: ChannelState | None = None) -> None:
        self._state = state or self._state
        self._notices.send(self.view)
