"""The durable list of tasks: SQLite in one named thread."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from orchestrator.tasks.task import Failure, Task, TaskState

T = TypeVar("T")

logger = logging.getLogger(__name__)

_SAVE_AGAIN_S = 1.0

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    steps INTEGER NOT NULL,
    guidance REAL NOT NULL,
    seed INTEGER NOT NULL,
    duration_s REAL NOT NULL,
    created_at REAL NOT NULL,
    attempts INTEGER NOT NULL,
    frames_total INTEGER NOT NULL,
    frames_generated INTEGER NOT NULL,
    frames_played INTEGER NOT NULL,
    failure_code TEXT,
    failure_message TEXT,
    stamps TEXT NOT NULL
) STRICT;
CREATE INDEX tasks_by_state ON tasks (state, number);
"""
_COLUMNS = (
    "id, channel, state, steps, guidance, seed, duration_s, created_at, attempts, "
    "frames_total, frames_generated, frames_played, failure_code, failure_message, stamps"
)
_FINAL = tuple(state.value for state in TaskState if state.final)


class TaskStore:
    """Every accepted task, in the order of acceptance; a returned write is on the disk (WAL, synchronous FULL).

    Where the disk is full, new tasks are refused. A change of a task that was accepted is kept here and written once
    there is room: what plays must not end because a disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # SQLite's connection belongs to one thread, and a commit waits for the disk: never on the event loop.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="task-store")
        self._db: sqlite3.Connection | None = None
        self._unsaved: dict[str, Task] = {}  # belongs to the thread
        self._saving_again: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open or create the file; raises `sqlite3.DatabaseError` for one that is no task store of this version."""
        await self._run(self._open)

    async def add(self, task: Task) -> None:
        """Append a task; raises OSError (ENOSPC) when it can't be written."""
        marks = ", ".join("?" * len(_row(task)))
        await self._run(lambda: self._write(f"INSERT INTO tasks ({_COLUMNS}) VALUES ({marks})", _row(task)))

    async def save(self, task: Task) -> None:
        """Write a task's present state over its former one, or later when the disk is full."""
        if await self._run(lambda: self._save([task])) or self._saving_again is not None:
            return
        self._saving_again = asyncio.create_task(self._save_again(), name="task-store-save-again")

    async def get(self, task_id: str) -> Task | None:
        """The task, or None."""
        found = await self._run(lambda: self._read("WHERE id = ?", (task_id,)))
        return found[0] if found else None

    async def unfinished(self) -> list[Task]:
        """All tasks without a final state, oldest first."""
        marks = ", ".join("?" * len(_FINAL))
        return await self._run(lambda: self._read(f"WHERE state NOT IN ({marks}) ORDER BY number", _FINAL))

    async def newest(self, limit: int) -> list[Task]:
        """The last `limit` tasks, newest first."""
        return await self._run(lambda: self._read("ORDER BY number DESC LIMIT ?", (limit,)))

    async def forget_finished(self, keep: int) -> None:
        """Delete finished tasks but the newest `keep`."""
        marks = ", ".join("?" * len(_FINAL))
        sql = (
            f"DELETE FROM tasks WHERE number IN (SELECT number FROM tasks WHERE state IN ({marks})"
            " ORDER BY number DESC LIMIT -1 OFFSET ?)"
        )
        with contextlib.suppress(OSError):  # the next one to finish asks again
            await self._run(lambda: self._write(sql, (*_FINAL, keep)))

    async def aclose(self) -> None:
        """Close the file and end the thread."""
        if self._saving_again is not None:
            self._saving_again.cancel()
            await asyncio.gather(self._saving_again, return_exceptions=True)
            await self._run(lambda: self._save([]))
        await self._run(self._close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        # Shielded: a cancelled request must not leave a half-known write behind.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
        elif version != _SCHEMA_VERSION:
            db.close()
            raise sqlite3.DatabaseError(
                f"{self._path} has version {version}, and this server reads version {_SCHEMA_VERSION}: move it away"
            )
        self._db = db

    async def _save_again(self) -> None:
        try:
            while True:
                await asyncio.sleep(_SAVE_AGAIN_S)
                if await self._run(lambda: self._save([])):
                    return
        finally:
            self._saving_again = None

    def _save(self, tasks: list[Task]) -> bool:
        """Writes these tasks and those that are still to be written; False when some had to be kept."""
        trouble = bool(self._unsaved)
        self._unsaved.update((task.id, task) for task in tasks)
        sets = ", ".join(f"{column.strip()} = ?" for column in _COLUMNS.split(","))
        try:
            for task in list(self._unsaved.values()):
                self._write(f"UPDATE tasks SET {sets} WHERE id = ?", (*_row(task), task.id))
                del self._unsaved[task.id]
        except OSError as error:
            if not trouble:
                logger.error("%s: the states of tasks are kept in memory until they can be written", error)
            return False
        if trouble:
            logger.warning("the states of tasks are on the disk again")
        return True

    def _write(self, sql: str, values: tuple[object, ...]) -> None:
        assert self._db is not None, "the store is not open"
        try:
            self._db.execute(sql, values)
        except sqlite3.OperationalError as error:
            # The low byte is the kind of error: a full disk shows as either, by which file it meets.
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise OSError(errno.ENOSPC, f"the task store can't be written ({error})", str(self._path)) from error
            raise

    def _read(self, condition: str, values: tuple[object, ...]) -> list[Task]:
        assert self._db is not None, "the store is not open"
        tasks = (_task(row) for row in self._db.execute(f"SELECT {_COLUMNS} FROM tasks {condition}", values))
        return [self._unsaved.get(task.id, task) for task in tasks]

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _row(task: Task) -> tuple[object, ...]:
    return (
        task.id,
        task.channel,
        task.state.value,
        task.steps,
        task.guidance,
        task.seed,
        task.duration_s,
        task.created_at,
        task.attempts,
        task.frames_total,
        task.frames_generated,
        task.frames_played,
        task.failure.code if task.failure else None,
        task.failure.message if task.failure else None,
        json.dumps(dict(task.stamps)),
    )


def _task(row: tuple[object, ...]) -> Task:
    values = dict(zip((column.strip() for column in _COLUMNS.split(",")), row, strict=True))
    code, message = values.pop("failure_code"), values.pop("failure_message")
    values["failure"] = Failure(str(code), str(message)) if code is not None else None
    values["state"] = TaskState(str(values["state"]))
    values["stamps"] = json.loads(str(values["stamps"]))
    return Task(**values)  # type: ignore[arg-type]  # the columns are the fields, and STRICT keeps their types
