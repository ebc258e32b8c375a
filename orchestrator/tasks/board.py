"""All tasks of a server: HTTP adds them, channels take them, listeners are notified of each change."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import anyio

from orchestrator.clock import Clock
from orchestrator.tasks.open_logs import OpenLogs, unreadable, why_it_fails
from orchestrator.tasks.placed_sound import PlacedSound
from orchestrator.tasks.speech_files import SpeechFiles
from orchestrator.tasks.store import TaskStore
from orchestrator.tasks.task import Failure, Stage, Task, TaskState
from speech.audio.frames import FPS
from speech.log import SoundFrames, SpeechLog

# A task that was interrupted this many times is more likely the cause of the interruptions than their victim.
MAX_ATTEMPTS = 3

logger = logging.getLogger(__name__)


class QueueFull(RuntimeError):
    """The channel has as many tasks waiting as it may have."""


class ChannelGone(RuntimeError):
    """The task's channel was removed while its speech arrived."""


class TaskBoard:
    """Unfinished tasks are kept here and in the store, finished ones only in the store.

    After a restart queued tasks are still queued, in their order. A task that was inferring or streaming is said again
    from its beginning, in at most `MAX_ATTEMPTS` attempts; then it fails. One whose speech was still arriving is said
    as far as it came, and then fails with `source_lost`.

    The logs of tasks that are receiving or taken are open here; they are closed when the task waits without a source,
    and when it is over.
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
        self._logs = OpenLogs(files)
        self._placed: defaultdict[str, PlacedSound] = defaultdict(PlacedSound)
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
            if task.duration_s is None:
                await self._cut_off(task)
            if not task.state.waits:
                await self.requeue(task.id, "the server was interrupted")

    async def aclose(self) -> None:
        """Close the store and all logs; what was still arriving is cut off there."""
        self._logs.close_all()
        await self._store.aclose()

    async def begin(self, task: Task) -> SpeechLog:
        """Accept a task whose speech still arrives, and on return is on the disk; its source appends to the log.

        The source seals the log, or breaks it off, and then calls `received`. A task that is over before that has
        broken its log off itself: its source finds the reason in `end`.

        Raises QueueFull, ChannelGone, OSError when the disk is full, and StoreUnavailable.
        """
        return await self._accept(dataclasses.replace(task, state=TaskState.RECEIVING, duration_s=None), ())

    async def submit(self, task: Task, blocks: Iterable[SoundFrames]) -> None:
        """Accept a task whose speech has arrived; on return both are on the disk. Raises what `begin` does."""
        blocks = tuple(blocks)
        duration_s = sum(map(len, blocks)) / FPS
        stamps = {**task.stamps, Stage.DECODED.value: self._clock()}
        task = dataclasses.replace(task, state=TaskState.QUEUED, duration_s=duration_s, stamps=stamps)
        await self._accept(task, blocks)

    async def received(self, task_id: str, message: str | None = None) -> None:
        """All that comes of a task's speech is in its log, which has its end; on return all of it is on the disk.

        One that was broken off fails with the log's reason and `message` once what came is played, and at once where
        nothing came.
        """
        task, log = self._live.get(task_id), self._logs.get(task_id)
        if task is None or task.state.final or task.duration_s is not None or log is None:
            return
        if log.end is None:
            raise RuntimeError(f"the speech of task {task_id} is still arriving: seal its log, or break it off")
        failure = why_it_fails(log, message)
        if not log.frames:
            await self.finish(
                task_id, TaskState.FAILED, failure or Failure("empty_audio", "The speech has no sound. Send some.")
            )
            return
        self._live[task_id] = dataclasses.replace(task, failure=failure)  # at once: it may end while the disk is slow
        try:
            await log.sync()
        except OSError as error:  # it can still be played, if not after a loss of power
            logger.error("the speech of task %s may not be on the disk: %s", task_id, error)
        task = self._live.get(task_id)
        if task is None or task.state.final:
            return
        if waits := task.state.waits:
            self._logs.close(task_id)
        await self._change(
            task_id,
            state=TaskState.QUEUED if waits else task.state,
            duration_s=log.frames / FPS,
            stamps={**task.stamps, Stage.DECODED.value: self._clock()},
        )
        self._wake()

    async def _accept(self, task: Task, blocks: Iterable[SoundFrames]) -> SpeechLog:
        if full := self.full(task.channel):
            raise QueueFull(full)
        # Counted before the first await, so that concurrent requests can't all get the last free place.
        self._arriving[task.channel] = self._arriving.get(task.channel, 0) + 1
        log: SpeechLog | None = None
        try:
            log = self._files.begin(task.id, partial(self._first_came, task.id))
            for block in blocks:
                await log.append(block)
            if task.state is not TaskState.RECEIVING:
                await log.sync()
                log.seal()
                log.close()
            await asyncio.to_thread(self._files.sync)
            await self._store.add(task)
            if not self._exists(task.channel):  # removed since the request was checked
                await self._store.remove(task.id)
                raise ChannelGone(f"channel {task.channel!r} was removed")
        except BaseException:
            if log is not None:
                log.close()
            self._files.delete(task.id)
            raise
        finally:
            self._arriving[task.channel] -= 1
        self._live[task.id] = task
        if task.state is TaskState.RECEIVING:
            self._logs.keep(task.id, log)
        self._notify(task)
        self._wake()
        return log

    def full(self, channel: str) -> str | None:
        """The reason why the channel accepts no more tasks now, else None."""
        waiting = self.waiting(channel) + self._arriving.get(channel, 0)
        return f"channel {channel!r} has {waiting} tasks waiting" if waiting >= self._queue_limit else None

    async def take(self, channel: str) -> tuple[Task, SpeechLog]:
        """Wait for the channel's oldest task that is queued, or receiving with a frame at least.

        It is `inferring` on return; its log is closed here when it is over.
        """
        while True:
            task = next((t for t in self._live.values() if t.channel == channel and self._can_begin(t)), None)
            if task is None:
                await self._arrived.wait()
                continue
            try:
                log = await self._logs.opened(task)
            except FileNotFoundError:
                await self.finish(task.id, TaskState.FAILED, Failure("speech_lost", "The speech's file is gone."))
                continue
            except OSError as error:
                await self.finish(task.id, TaskState.FAILED, unreadable(error))
                continue
            if (now := self._live.get(task.id)) is None or not now.state.waits:
                self._logs.close(task.id)
                continue  # cancelled while its file was opened
            taken = await self._change(
                task.id,
                state=TaskState.INFERRING,
                attempts=task.attempts + 1,
                stamps={**_kept(task), Stage.STARTED.value: self._clock()},
            )
            if task.id in self.taken(channel):  # else it was cancelled during the write
                return taken, log

    async def stream(self, task_id: str) -> Task | None:
        """The first frame of a task is on the stream; returns the task, or None when it is final."""
        task = self._live.get(task_id)
        if task is None or task.state.final:
            return None
        stamps = {**task.stamps, Stage.FIRST_FRAME.value: self._clock()}
        return await self._change(task_id, stamps=stamps, state=TaskState.STREAMING)

    def stamp(self, task_id: str, stage: Stage, age_s: float = 0.0, once: bool = False) -> Task | None:
        """Record that a task reached a stage `age_s` ago; returns the task, or None when it is final.

        Not before the stage that came last: news of that may have waited longer than this.
        With `once` a stage that it has reached already stays as it is. Kept in memory, and written with its next state:
        nobody waits for the disk on the way to the first sound.
        """
        task = self._live.get(task_id)
        if task is None or task.state.final:
            return None
        if once and stage.value in task.stamps:
            return task
        now = self._clock()
        latest = min(now, max(task.stamps.values(), default=now - age_s))
        task = dataclasses.replace(task, stamps={**task.stamps, stage.value: max(latest, now - age_s)})
        self._live[task_id] = task
        self._notify(task)
        return task

    def progress(self, task_id: str, **frames: int) -> None:
        """Update `frames_total`, `frames_generated`, … of a task; kept in memory, written with its next state."""
        task = self._live.get(task_id)
        if task is not None and not task.state.final:
            changed = dataclasses.replace(task, **frames)  # type: ignore[arg-type]
            if changed.frames_total:
                played = min(changed.frames_played, changed.frames_total)
                changed = dataclasses.replace(changed, frames_played=played)
            log = self._logs.get(task_id)
            arrived = log.frames if log is not None else round((changed.duration_s or 0) * FPS)
            heard = self._placed[task_id].heard(changed.frames_played, arrived)
            self._live[task_id] = dataclasses.replace(changed, frames_heard=heard)
            self._notify(self._live[task_id])

    def place_sound(self, task_id: str, shown: int, heard: int) -> None:
        """From frame `shown` of a task's stream on, frame `heard` … of its log is played; `progress` counts by that."""
        if task_id in self._live:
            self._placed[task_id].place(shown, heard)

    async def finish(self, task_id: str, state: TaskState, failure: Failure | None = None) -> Task | None:
        """Give a live task its final state and return it; None where it was final already, and stays as it is.

        One that is done though its source broke off fails with that reason. Its speech is deleted once that state is on
        the disk: a restart before that begins the task again.
        """
        task = self._live.get(task_id)
        if task is None or task.state.final:
            return None
        log = self._logs.get(task_id)
        if state is TaskState.DONE and (failure := task.failure or why_it_fails(log)):
            state = TaskState.FAILED
        duration_s = log.frames / FPS if task.duration_s is None and log is not None else task.duration_s
        stamps = {**task.stamps, Stage.DONE.value: self._clock()}
        final = dataclasses.replace(task, state=state, failure=failure, stamps=stamps, duration_s=duration_s)
        self._live[task_id] = final  # at once, so that nothing changes it any more
        self._logs.close(task_id, failure.code if failure else state.value)
        self._placed.pop(task_id, None)
        self._finished(final)
        await asyncio.shield(self._settle(final))
        return final

    async def cancel_orphans(self, channels: set[str]) -> list[str]:
        """Cancel the tasks of all channels but these; returns their ids."""
        orphans = [task.id for task in self._live.values() if task.channel not in channels and not task.state.final]
        for task_id in orphans:
            await self.finish(task_id, TaskState.CANCELLED, Failure("channel_removed", "The task's channel is gone."))
        return orphans

    async def requeue(self, task_id: str, reason: str, blameless: bool = False) -> None:
        """Put an interrupted task back into its place in the queue, or fail it after too many attempts.

        One whose speech still arrives is receiving again. A `blameless` interruption, as by an ordered stop, doesn't
        count as an attempt.
        """
        task = self._live.get(task_id)
        if task is None or task.state.final:
            return
        attempts = task.attempts - 1 if blameless else task.attempts
        if attempts >= MAX_ATTEMPTS:
            message = f"Interrupted {attempts} times, the last time because {reason}."
            await self.finish(task_id, TaskState.FAILED, Failure("interrupted", message))
            return
        receiving = task.duration_s is None
        if not receiving:
            self._logs.close(task_id)
        await self._change(
            task_id,
            state=TaskState.RECEIVING if receiving else TaskState.QUEUED,
            attempts=attempts,
            stamps=_kept(task),
            frames_generated=0,
            frames_played=0,
            frames_dropped=0,
            frames_heard=0,
        )
        self._placed.pop(task_id, None)
        self._wake()

    async def get(self, task_id: str) -> Task | None:
        """The task, live or finished, or None."""
        return self._live.get(task_id) or await self._store.get(task_id)

    async def newest(self, limit: int, channel: str | None = None) -> list[Task]:
        """The last tasks, of all channels or of one, newest first, with their present progress."""
        return [self._live.get(task.id, task) for task in await self._store.newest(limit, channel)]

    def waiting(self, channel: str) -> int:
        """How many tasks of the channel wait to be taken."""
        return len(self.queued(channel))

    def queued(self, channel: str) -> list[str]:
        """The ids of the channel's tasks that wait to be taken, oldest first."""
        return [t.id for t in self._live.values() if t.channel == channel and t.state.waits]

    def taken(self, channel: str) -> list[str]:
        """The ids of the channel's tasks that neither wait nor are finished, oldest first."""
        return [t.id for t in self._live.values() if t.channel == channel and not t.state.waits and not t.state.final]

    def _can_begin(self, task: Task) -> bool:
        log = self._logs.get(task.id)
        return task.state is TaskState.QUEUED or (
            task.state is TaskState.RECEIVING and log is not None and log.frames > 0
        )

    async def _cut_off(self, task: Task) -> None:
        """End a task whose speech was arriving when the server ended: it is said as far as it came."""
        frames = await asyncio.to_thread(self._files.frames, task.id)
        failure = Failure("source_lost", "The server ended while the speech arrived. Send it again, whole.")
        if not frames:
            await self.finish(task.id, TaskState.FAILED, failure)
            return
        state = TaskState.QUEUED if task.state.waits else task.state
        await self._change(task.id, state=state, duration_s=frames / FPS, failure=failure)

    async def _change(self, task_id: str, **changes: Any) -> Task:
        task = dataclasses.replace(self._live[task_id], **changes)
        self._live[task_id] = task
        await self._store.save(task)
        if task_id in self._live:  # else it ended during the write, and its listeners were notified of that
            self._notify(self._live[task_id])
        return task

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

    def _first_came(self, task_id: str) -> None:
        """The first frames of a speech are in its log, or its end was said."""
        task, log = self._live.get(task_id), self._logs.get(task_id)
        if log is not None and log.frames and task is not None and task.awaits_its_sound:
            self.stamp(task_id, Stage.RECEIVED)
        self._wake()

    def _wake(self) -> None:
        arrived, self._arrived = self._arrived, anyio.Event()
        arrived.set()


def _kept(task: Task) -> dict[str, float]:
    """The stamps that stay valid in another attempt."""
    return {stage: at for stage, at in task.stamps.items() if stage in (Stage.RECEIVED.value, Stage.DECODED.value)}
