"""The durable list of tasks: SQLite in one named thread."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from orchestrator.tasks.task import Failure, Task, TaskState

T = TypeVar("T")

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
    """Every accepted task, in the order of acceptance; a returned write is on the disk (WAL, synchronous FULL)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # SQLite's connection belongs to one thread, and a commit waits for the disk: never on the event loop.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="task-store")
        self._db: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open or create the file; raises `sqlite3.DatabaseError` for one that is no task store of this version."""
        await self._run(self._open)

    async def add(self, task: Task) -> None:
        """Append a task."""
        marks = ", ".join("?" * len(_row(task)))
        await self._run(lambda: self._write(f"INSERT INTO tasks ({_COLUMNS}) VALUES ({marks})", _row(task)))

    async def save(self, task: Task) -> None:
        """Write a task's present state over its former one."""
        sets = ", ".join(f"{column.strip()} = ?" for column in _COLUMNS.split(","))
        await self._run(lambda: self._write(f"UPDATE tasks SET {sets} WHERE id = ?", (*_row(task), task.id)))

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
        await self._run(lambda: self._write(sql, (*_FINAL, keep)))

    async def aclose(self) -> None:
        """Close the file and end the thread."""
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

    def _write(self, sql: str, values: tuple[object, ...]) -> None:
        assert self._db is not None, "the store is not open"
        self._db.execute(sql, values)

    def _read(self, condition: str, values: tuple[object, ...]) -> list[Task]:
        assert self._db is not None, "the store is not open"
        return [_task(row) for row in self._db.execute(f"SELECT {_COLUMNS} FROM tasks {condition}", values)]

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
    values["state"] = TaskState(values["state"])
    values["stamps"] = json.loads(str(values["stamps"]))
    return Task(**values)  # type: ignore[arg-type]  # the columns are the fields, and STRICT keeps their types
