"""File and database calls that fail: those that Python makes below a folder, for as long as a test says."""

import errno
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from orchestrator.tasks.database import TaskDatabase

_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.listdir", "os.scandir"}
# Those that a file which is open already can meet.
_OPEN_FILES = {errno.EIO: ("pread", "pwrite", "fsync"), errno.ENOSPC: ("pwrite", "fsync")}
_SQLITE_CODES = {
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EIO: sqlite3.SQLITE_IOERR,
    errno.EACCES: sqlite3.SQLITE_READONLY,
    errno.EMFILE: sqlite3.SQLITE_CANTOPEN,
}


class _Failing:
    """An audit hook can't be taken away again: one for all tests, which does nothing while no folder is set."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.code = 0
        self.calls: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or event not in _EVENTS:
            return
        for path in arguments[:2]:
            if isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith(self.folder):
                self.calls.append(event)
                raise OSError(self.code, os.strerror(self.code), os.fsdecode(path))


_failing: _Failing | None = None


@contextmanager
def failing_files(folder: Path, code: int) -> Iterator[list[str]]:
    """Within the context each call below `folder`, and each of the task store, fails with this error; the calls."""
    global _failing
    _failing = _failing or _Failing()
    _failing.calls, _failing.code, _failing.folder = [], code, str(folder)
    try:
        with (
            pytest.MonkeyPatch.context() as database,
            failing_open_files(folder, code, *_OPEN_FILES.get(code, ())) as calls,
        ):
            for name in ("_write", "_read"):
                database.setattr(TaskDatabase, name, _failing_call(name, code, _failing.calls))
            yield _failing.calls
            _failing.calls += calls
    finally:
        _failing.folder = None


@contextmanager
def failing_open_files(folder: Path, code: int, *names: str) -> Iterator[list[str]]:
    """Within the context these functions of `os` fail for files below `folder` that are open; the calls."""
    calls: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        for name in names:
            patched.setattr(os, name, _failing_file(name, folder, code, calls))
        yield calls


def _failing_file(name: str, folder: Path, code: int, calls: list[str]) -> Any:
    function = getattr(os, name)

    def fail(file: int, *arguments: Any) -> Any:
        if Path(f"/proc/self/fd/{file}").readlink().is_relative_to(folder):
            calls.append(name)
            raise OSError(code, os.strerror(code))
        return function(file, *arguments)

    return fail


def _failing_call(name: str, code: int, calls: list[str]) -> Any:
    def fail(database: TaskDatabase, *arguments: Any) -> Any:
        calls.append(name)
        error = sqlite3.OperationalError(os.strerror(code))
        error.sqlite_errorcode = _SQLITE_CODES[code]
        with database._errors((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR) if name == "_write" else ()):
            raise error

    return fail


def no_file_left(*_: object) -> NoReturn:
    """In place of a call that opens one."""
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
