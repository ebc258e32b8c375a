"""All tasks of a server: HTTP adds them, channels take them, listeners are notified of each change."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import logging
from collections.abc import Callable
from typing import Any

import anyio
import numpy as np
from numpy.typing import NDArray

from orchestrator.clock import Clock
from orchestrator.tasks.speech_files import SpeechFiles
from orchestrator.tasks.store import TaskStore
from orchestrator.tasks.task import Failure, Stage, Task, TaskState
from speech.events import FacesMade, FeaturesReady, LengthKnown, SpeechEvent

# A task that was interrupted this many times is more likely the cause of the interruptions than their victim.
MAX_ATTEMPTS = 3
PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
"""Errors of files that pass by themselves."""
_READ_PAUSES_S = (0.5, 1.0, 2.0, 4.0)

logger = logging.getLogger(__name__)


class QueueFull(RuntimeError):
    """The channel has as many tasks waiting as it may have."""


class ChannelGone(RuntimeError):
    """The task's channel was removed while its speech arrived."""


class TaskBoard:
    """Unfinished tasks are kept here and in the store, finished ones only in the store.

    After a restart queued tasks are still queued, in their order. A task that was inferring or streaming is said again
    from its beginning, in at most `MAX_ATTEMPTS` attempts; then it fails.
    """

    def __init__(
        self,
        store: TaskStore,
        files: SpeechFiles,
        notify: Callable[[Task], None],
        clock: Clock,
        queue_limit: int,
        history: int,
        finished: Callable[[Task], None] = lambda task: None,
        exists: Callable[[str], bool] = lambda channel: True,
    ) -> None:
        """`finished` is called with each task that gets its final state; `exists` says whether a channel exists."""
        self._store = store
        self._files = files
        self._clock = clock
        self._queue_limit = queue_limit
        self._history = history
        self._finished = finished
        self._exists = exists
        self._live: dict[str, Task] = {}
        self._arriving: dict[str, int] = {}
        self._arrived = anyio.Event()
        self._notify = notify

    async def open(self) -> None:
        """Take over what an earlier run left; raises TaskStoreError when the store can't be opened."""
        damaged = await self._store.open(self._live.values, self._delete_speech)
        unfinished = await self._store.unfinished()
        await asyncio.to_thread(self._files.open, {task.id for task in unfinished}, damaged)
        for task in unfinished:
            self._live[task.id] = task
            if task.state is not TaskState.QUEUED:
                await self.requeue(task.id, "the server was interrupted")

    async def aclose(self) -> None:
        """Close the store."""
        await self._store.aclose()

    async def submit(self, task: Task, pcm: NDArray[np.int16]) -> None:
        """Accept a task; on return it and its speech, int16 [samples] at 16 kHz, are on the disk.

        Raises QueueFull, ChannelGone, OSError when the disk is full, and StoreUnavailable.
        """
        if full := self.full(task.channel):
            raise QueueFull(full)
        # Counted before the first await, so that concurrent requests can't all get the last free place.
        self._arriving[task.channel] = self._arriving.get(task.channel, 0) + 1
        try:
            await asyncio.to_thread(self._files.write, task.id, pcm)
            await self._store.add(task)
            if not self._exists(task.channel):  # removed since the request was checked
                await self._store.remove(task.id)
                raise ChannelGone(f"channel {task.channel!r} was removed")
        except BaseException:
            self._files.delete(task.id)
            raise
        finally:
            self._arriving[task.channel] -= 1
        self._live[task.id] = task
        self._notify(task)
        self._wake()

    def full(self, channel: str) -> str | None:
        """The reason why the channel accepts no more tasks now, else None."""
        waiting = self.waiting(channel) + self._arriving.get(channel, 0)
        return f"channel {channel!r} has {waiting} tasks waiting" if waiting >= self._queue_limit else None

    async def take(self, channel: str) -> tuple[Task, NDArray[np.int16]]:
        """Wait for the channel's oldest queued task; it is `inferring` on return, with its speech."""
        while True:
            queued = (t for t in self._live.values() if t.channel == channel and t.state is TaskState.QUEUED)
            task = next(queued, None)
            if task is None:
                await self._arrived.wait()
                continue
            try:
                pcm = await self._read(task.id)
            except FileNotFoundError:
                await self.finish(task.id, TaskState.FAILED, Failure("speech_lost", "The speech's file is gone."))
                continue
            except OSError as error:
                message = f"The speech's file can't be read ({error.strerror or error}). Upload it again."
                await self.finish(task.id, TaskState.FAILED, Failure("speech_unreadable", message))
                continue
            if self._live.get(task.id) is not task:
                continue  # cancelled while its file was read
            taken = await self._change(
                task.id,
                state=TaskState.INFERRING,
                attempts=task.attempts + 1,
                stamps={**_kept(task), Stage.STARTED.value: self._clock()},
            )
            if task.id in self.taken(channel):  # else it was cancelled during the write
                return taken, pcm

    async def stamp(self, task_id: str, stage: Stage, state: TaskState | None = None) -> Task | None:
        """Record that a task has reached a stage, and its new state; returns the task, or None when it is final."""
        task = self._live.get(task_id)
        if task is None or task.state.final:
            return None
        stamps = {**task.stamps, stage.value: self._clock()}
        return await self._change(task_id, stamps=stamps, state=state or task.state)

    def progress(self, task_id: str, **frames: int) -> None:
        """Update `frames_total`, `frames_generated`, … of a task; kept in memory, written with its next state."""
        task = self._live.get(task_id)
        if task is not None and not task.state.final:
            changed = dataclasses.replace(task, **frames)  # type: ignore[arg-type]
            self._live[task_id] = dataclasses.replace(
                changed, frames_played=min(changed.frames_played, changed.frames_total)
            )
            self._notify(self._live[task_id])

    async def hear(self, task_id: str, event: SpeechEvent) -> None:
        """Update a task by an event of the generation of its speech."""
        match event:
            case LengthKnown(frames):
                self.progress(task_id, frames_total=frames)
            case FeaturesReady():
                await self.stamp(task_id, Stage.FEATURES)
            case FacesMade(frames):
                task = self._live.get(task_id)
                if task is not None and Stage.FIRST_FACE.value not in task.stamps:
                    await self.stamp(task_id, Stage.FIRST_FACE)
                self.progress(task_id, frames_generated=frames)

    async def finish(self, task_id: str, state: TaskState, failure: Failure | None = None) -> None:
        """Give a live task its final state; a task that is final already stays as it is.

        Its speech is deleted once that state is on the disk: a restart before that begins the task again.
        """
        task = self._live.get(task_id)
        if task is None or task.state.final:
            return
        stamps = {**task.stamps, Stage.DONE.value: self._clock()}
        final = dataclasses.replace(task, state=state, failure=failure, stamps=stamps)
        self._live[task_id] = final  # at once, so that nothing changes it any more
        self._finished(final)
        await asyncio.shield(self._settle(final))

    async def cancel_orphans(self, channels: set[str]) -> list[str]:
        """Cancel the tasks of all channels but these; returns their ids."""
        orphans = [task.id for task in self._live.values() if task.channel not in channels and not task.state.final]
        for task_id in orphans:
            await self.finish(task_id, TaskState.CANCELLED, Failure("channel_removed", "The task's channel is gone."))
        return orphans

    async def requeue(self, task_id: str, reason: str, blameless: bool = False) -> None:
        """Put an interrupted task back into its place in the queue, or fail it after too many attempts.

        A `blameless` interruption, as by an ordered stop, doesn't count as an attempt.
        """
        task = self._live.get(task_id)
        if task is None or task.state.final:
            return
        attempts = task.attempts - 1 if blameless else task.attempts
        if attempts >= MAX_ATTEMPTS:
            message = f"Interrupted {attempts} times, the last time because {reason}."
            await self.finish(task_id, TaskState.FAILED, Failure("interrupted", message))
            return
        await self._change(
            task_id,
            state=TaskState.QUEUED,
            attempts=attempts,
            stamps=_kept(task),
            frames_generated=0,
            frames_played=0,
            frames_dropped=0,
        )
        self._wake()

    async def get(self, task_id: str) -> Task | None:
        """The task, live or finished, or None."""
        return self._live.get(task_id) or await self._store.get(task_id)

    async def newest(self, limit: int, channel: str | None = None) -> list[Task]:
        """The last tasks, of all channels or of one, newest first, with their present progress."""
        return [self._live.get(task.id, task) for task in await self._store.newest(limit, channel)]

    def waiting(self, channel: str) -> int:
        """How many tasks are queued for the channel."""
        return sum(t.channel == channel and t.state is TaskState.QUEUED for t in self._live.values())

    def queued(self, channel: str) -> list[str]:
        """The ids of the channel's queued tasks, oldest first."""
        return [t.id for t in self._live.values() if t.channel == channel and t.state is TaskState.QUEUED]

    def taken(self, channel: str) -> list[str]:
        """The ids of the channel's tasks that are neither queued nor finished, oldest first."""
        return [
            t.id
            for t in self._live.values()
            if t.channel == channel and t.state is not TaskState.QUEUED and not t.state.final
        ]

    async def _change(self, task_id: str, **changes: Any) -> Task:
        task = dataclasses.replace(self._live[task_id], **changes)
        self._live[task_id] = task
        await self._store.save(task)
        if task_id in self._live:  # else it ended during the write, and its listeners were notified of that
            self._notify(self._live[task_id])
        return task

    async def _read(self, task_id: str) -> NDArray[np.int16]:
        """The task's speech; retries while file descriptors or memory are short."""
        for pause_s in _READ_PAUSES_S:
            try:
                return await asyncio.to_thread(self._files.read, task_id)
            except OSError as error:
                if error.errno not in PASSING:
                    raise
                logger.warning("the speech of task %s can't be read now: %s", task_id, error)
                await asyncio.sleep(pause_s)
        return await asyncio.to_thread(self._files.read, task_id)

    async def _settle(self, final: Task) -> None:
        await self._store.save(final)
        self._live.pop(final.id, None)
        self._notify(final)
        said = f": {final.failure.message}" if final.failure else ""
        logger.info("task %s is %s%s", final.id, final.state.value, said, extra={"task_id": final.id})
        await self._store.forget_finished(self._history)

    async def _delete_speech(self, task: Task) -> None:
        """Called when the state of a task is on the disk."""
        if not task.state.final:
            return
        try:
            await asyncio.to_thread(self._files.delete, task.id)
        except OSError as error:  # the next start deletes it
            logger.warning("the speech of task %s was not deleted: %s", task.id, error)

    def _wake(self) -> None:
        arrived, self._arrived = self._arrived, anyio.Event()
        arrived.set()


def _kept(task: Task) -> dict[str, float]:
    """The stamps that stay valid in another attempt."""
    return {stage: at for stage, at in task.stamps.items() if stage == Stage.DECODED.value}
