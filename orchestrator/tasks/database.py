"""The SQLite file of tasks. Everything here belongs to one thread."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.set_aside import set_aside
from orchestrator.tasks.schema import UnknownVersion, migrate
from orchestrator.tasks.task import Failure, Task, TaskState
from speech.source import SpeechSource

# Another program may hold the lock for a moment. What is played waits for its states to be written: not for long.
_BUSY_TIMEOUT_S = 1.0
_COMPANIONS = ("-wal", "-shm")
_COLUMNS = (
    "id, channel, state, steps, guidance, seed, duration_s, created_at, attempts, "
    "frames_total, frames_generated, frames_played, frames_dropped, failure_code, failure_message, stamps, file_name, "
    "source, frames_heard"
)
_FINAL = tuple(state.value for state in TaskState if state.final)
_FINAL_MARKS = ", ".join("?" * len(_FINAL))
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)  # a full disk shows as either, by which file it meets

logger = logging.getLogger(__name__)


class TaskStoreError(RuntimeError):
    """The task store can't be used; the message says why and what to do."""


class StoreUnavailable(TaskStoreError):
    """The task store can't be read or written now; a later attempt may succeed."""


class StoreDamaged(StoreUnavailable):
    """The file's content is not that of a database."""


class TaskDatabase:
    """Every accepted task, in the order of acceptance; a returned write is on the disk (WAL, synchronous FULL).

    All methods raise StoreUnavailable, or StoreDamaged where only another file helps; writes OSError (ENOSPC) too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def open(self) -> Path | None:
        """Open or create the file, and bring it to this version.

        A damaged file is set aside, and what can be read of it is taken over; returns its new name, else None. Raises
        TaskStoreError for a file of a newer version.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connect()
            self._check()
            return None
        except StoreDamaged as error:
            readable = self._readable()
            kept = self.replace(readable)
            logger.error("%s: it is kept as %s, and %d of its tasks were read", error, kept, len(readable))
            return kept

    def replace(self, tasks: Iterable[Task]) -> Path:
        """Set the file aside and begin another one with these tasks; returns the old one's new name. Raises OSError."""
        self.close()
        kept = set_aside(self._path, *_COMPANIONS)
        self._connect()
        for task in tasks:
            self.insert(task)
        return kept

    def insert(self, task: Task) -> None:
        """Append a task, or move it to the end."""
        row = _row(task)
        self._write(f"INSERT OR REPLACE INTO tasks ({_COLUMNS}) VALUES ({', '.join('?' * len(row))})", row)

    def update(self, task: Task) -> None:
        """Write a task's present state over its former one."""
        columns = ", ".join(f"{column.strip()} = ?" for column in _COLUMNS.split(","))
        self._write(f"UPDATE tasks SET {columns} WHERE id = ?", (*_row(task), task.id))

    def delete(self, task_id: str) -> None:
        """Forget a task."""
        self._write("DELETE FROM tasks WHERE id = ?", (task_id,))

    def delete_finished(self, keep: int) -> None:
        """Forget finished tasks but the newest `keep`."""
        sql = (
            f"DELETE FROM tasks WHERE number IN (SELECT number FROM tasks WHERE state IN ({_FINAL_MARKS})"
            " ORDER BY number DESC LIMIT -1 OFFSET ?)"
        )
        self._write(sql, (*_FINAL, keep))

    def find(self, task_id: str) -> Task | None:
        """The task, or None."""
        return next(iter(self._read("WHERE id = ?", (task_id,))), None)

    def unfinished(self) -> list[Task]:
        """All tasks without a final state, oldest first."""
        return self._read(f"WHERE state NOT IN ({_FINAL_MARKS}) ORDER BY number", _FINAL)

    def newest(self, limit: int, channel: str | None = None) -> list[Task]:
        """The last `limit` tasks, of all channels or of one, newest first."""
        if channel is None:
            return self._read("ORDER BY number DESC LIMIT ?", (limit,))
        return self._read("WHERE channel = ? ORDER BY number DESC LIMIT ?", (channel, limit))

    def close(self) -> None:
        """Close the file; may be called twice, and never fails."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):  # what was committed is on the disk already
                db.close()

    def _connect(self) -> None:
        with self._errors():
            self._db = db = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_TIMEOUT_S)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            try:
                migrate(db)
            except UnknownVersion as error:
                self.close()
                raise TaskStoreError(f"{self._path}: {error}; install that version, or move the file away") from None

    def _check(self) -> None:
        assert self._db is not None, "the store is not open"
        with self._errors():
            problems = [text for (text,) in self._db.execute("PRAGMA integrity_check(3)") if text != "ok"]
        if problems:
            raise StoreDamaged(f"{self._path} is damaged ({'; '.join(problems)})")

    def _readable(self) -> list[Task]:
        """The tasks of a damaged file up to the first that can't be read."""
        found: list[Task] = []
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error, ValueError):
                for row in self._db.execute(f"SELECT {_COLUMNS} FROM tasks NOT INDEXED ORDER BY number"):
                    found.append(_task(row))
        return found

    def _write(self, sql: str, values: tuple[object, ...]) -> None:
        assert self._db is not None, "the store is not open"
        with self._errors(_FULL):
            self._db.execute(sql, values)

    def _read(self, condition: str, values: tuple[object, ...]) -> list[Task]:
        assert self._db is not None, "the store is not open"
        with self._errors():
            return [_task(row) for row in self._db.execute(f"SELECT {_COLUMNS} FROM tasks {condition}", values)]

    @contextmanager
    def _errors(self, full: tuple[int, ...] = ()) -> Iterator[None]:
        """Turns SQLite's errors into ours; those with a code in `full` mean that the disk is full."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind of error
            if code in full:
                message = f"the task store can't be written ({error})"
                raise OSError(errno.ENOSPC, message, str(self._path)) from error
            if code in _DAMAGED:
                raise StoreDamaged(f"{self._path} is damaged ({error})") from error
            raise StoreUnavailable(f"{self._path} can't be used now ({error})") from error


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
        task.frames_dropped,
        task.failure.code if task.failure else None,
        # A message may quote another program, whose bytes need not be UTF-8.
        task.failure.message.encode("utf-8", "replace").decode() if task.failure else None,
        json.dumps(dict(task.stamps)),
        task.file_name,
        task.source.value,
        task.frames_heard,
    )


def _task(row: tuple[object, ...]) -> Task:
    values = dict(zip((column.strip() for column in _COLUMNS.split(",")), row, strict=True))
    code, message = values.pop("failure_code"), values.pop("failure_message")
    values["failure"] = Failure(str(code), str(message)) if code is not None else None
    values["state"] = TaskState(str(values["state"]))
    values["source"] = SpeechSource(str(values["source"]))
    values["stamps"] = json.loads(str(values["stamps"]))
    return Task(**values)  # type: ignore[arg-type]  # the columns are the fields, and STRICT keeps their types
