"""The durable list of tasks: SQLite in one named thread, and in memory what could not be written yet."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from orchestrator.tasks.database import StoreDamaged, StoreUnavailable, TaskDatabase
from orchestrator.tasks.task import Task

T = TypeVar("T")

_RETRY_S = 1.0

logger = logging.getLogger(__name__)


async def _ignore(task: Task) -> None: ...


class TaskStore:
    """Every accepted task, in the order of acceptance; a returned write is on the disk.

    While the file can't be written new tasks are refused. A change of an accepted task is kept in memory and written
    once that is possible: what plays must not end because a disk is full or a lock is held. A file that turns out to
    be damaged is set aside, and another one begins with the tasks that are known here.
    """

    def __init__(self, path: Path, on_set_aside: Callable[[], None] = lambda: None) -> None:
        """`on_set_aside` is called each time that a damaged file was set aside."""
        self._path = path
        # SQLite's connection belongs to one thread, and a commit waits for the disk: never on the event loop.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="task-store")
        self._database = TaskDatabase(path)
        self._on_set_aside = on_set_aside
        self._known: Callable[[], Iterable[Task]] = tuple
        self._written: Callable[[Task], Awaitable[None]] = _ignore
        self._adding: dict[str, Task] = {}
        self._unwritten: dict[str, Task] = {}
        self._retrying: asyncio.Task[None] | None = None
        self._replacing = asyncio.Lock()
        self._replaced = 0

    async def open(
        self,
        known: Callable[[], Iterable[Task]] = tuple,
        written: Callable[[Task], Awaitable[None]] = _ignore,
    ) -> bool:
        """Open or create the file; True when a damaged one was set aside for it.

        `known` gives the unfinished tasks at any time, and `written` is called when a task's newest state is on the
        disk. Raises TaskStoreError.
        """
        self._known, self._written = known, written
        kept = await self._run(self._database.open)
        if kept is not None:
            self._on_set_aside()
        return kept is not None

    @property
    def unwritten(self) -> int:
        """How many tasks have a state that is in memory alone."""
        return len(self._unwritten)

    async def add(self, task: Task) -> None:
        """Append a task; raises OSError (ENOSPC) or StoreUnavailable when it can't be written."""
        self._adding[task.id] = task
        try:
            await self._retried(lambda: self._database.insert(task))
        finally:
            del self._adding[task.id]

    async def save(self, task: Task) -> None:
        """Write a task's present state over its former one, at once or when that is possible; raises nothing."""
        self._unwritten[task.id] = task
        if self._retrying is None:  # else the retry task writes it, and the caller doesn't wait for a failing store
            await asyncio.shield(self._flush())

    async def remove(self, task_id: str) -> None:
        """Forget a task that was added; raises OSError (ENOSPC) or StoreUnavailable when that can't be written."""
        await self._retried(lambda: self._database.delete(task_id))

    async def get(self, task_id: str) -> Task | None:
        """The task, or None; raises StoreUnavailable."""
        if task_id in self._unwritten:
            return self._unwritten[task_id]
        return await self._retried(lambda: self._database.find(task_id))

    async def unfinished(self) -> list[Task]:
        """All tasks without a final state, oldest first; raises StoreUnavailable."""
        return await self._retried(self._database.unfinished)

    async def newest(self, limit: int, channel: str | None = None) -> list[Task]:
        """The last `limit` tasks, of all channels or of one, newest first; raises StoreUnavailable."""
        tasks = await self._retried(lambda: self._database.newest(limit, channel))
        return [self._unwritten.get(task.id, task) for task in tasks]

    async def forget_finished(self, keep: int) -> None:
        """Delete finished tasks but the newest `keep`, unless the store fails now."""
        if self._retrying is None:
            with contextlib.suppress(OSError, StoreUnavailable):  # the next one to finish asks again
                await self._retried(lambda: self._database.delete_finished(keep))

    async def aclose(self) -> None:
        """Close the file and end the thread."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.gather(self._retrying, return_exceptions=True)
            await self._flush(last=True)
        if self._unwritten:
            logger.error("these tasks are in an earlier state on the disk: %s", ", ".join(self._unwritten))
        await self._run(self._database.close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        # Shielded: a cancelled request must not leave a half-known write behind.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    async def _retried(self, work: Callable[[], T]) -> T:
        """What `work` returns, with another file where the present one is damaged."""
        replaced = self._replaced
        try:
            return await self._run(work)
        except StoreDamaged as error:
            await asyncio.shield(self._replace(error, replaced))
            return await self._run(work)

    async def _replace(self, error: StoreDamaged, replaced: int) -> None:
        """Begin another file with all tasks that are known, unless that was done after `replaced` such replacements."""
        async with self._replacing:
            if replaced != self._replaced:
                return
            tasks = {task.id: task for task in self._known()} | self._unwritten | self._adding
            kept = await self._run(lambda: self._database.replace(tasks.values()))
            self._replaced += 1
        self._on_set_aside()
        logger.error("%s: it is kept as %s, and %d unfinished tasks were written anew", error, kept, len(tasks))

    async def _flush(self, last: bool = False) -> None:
        """Write what is only in memory; what fails is tried again later, unless this is the `last` attempt."""
        batch, failed = dict(self._unwritten), False
        try:
            for task in batch.values():
                await self._write(task)
        except (OSError, StoreUnavailable) as error:
            failed = True
            if self._retrying is None:
                logger.error("the states of tasks are kept in memory until they can be written: %s", error)
        except Exception:  # whatever fails here, what plays must go on
            failed = True
            logger.exception("the states of tasks are kept in memory until they can be written")
        # What came in meanwhile is written by whoever saves it.
        if failed and self._unwritten and self._retrying is None and not last:
            self._retrying = asyncio.create_task(self._retry(), name="task-store-retry")

    async def _write(self, task: Task) -> None:
        def update() -> None:
            # Else a newer state is on the disk already, or about to be: several batches are written at once, and this
            # one may have waited for the states before it.
            if self._unwritten.get(task.id) is task:
                self._database.update(task)

        await self._retried(update)
        if self._unwritten.get(task.id) is task:
            del self._unwritten[task.id]
            await self._written(task)

    async def _retry(self) -> None:
        try:
            while self._unwritten:
                await asyncio.sleep(_RETRY_S)
                await self._flush()
            logger.warning("the states of tasks are on the disk again")
        finally:
            self._retrying = None
