"""Faults in background tasks: each place that starts one is found, and one task of it fails once, wherever it waits."""

import ast
import asyncio
import collections.abc
import sys
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.checkout import ROOT

_STARTERS = ("start_soon", "create_task", "ensure_future")


class InjectedFault(Exception):
    """Nobody expects this error."""


@dataclass(frozen=True)
class StartingPlace:
    """A call that starts a background task."""

    file: str
    first_line: int
    last_line: int
    source: str

    def __str__(self) -> str:
        return f"{self.file}: {self.source}"


def starting_places(*rooms: str) -> list[StartingPlace]:
    """All such calls in the packages and files named."""
    found = []
    for room in rooms:
        for path in [ROOT / room] if room.endswith(".py") else sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in _STARTERS
                    and node.args
                ):
                    # Of `start_soon(keep_running, "name", work)` the name tells more than the function.
                    words = [ast.unparse(argument) for argument in node.args]
                    source = " ".join(words)[:70]
                    found.append(
                        StartingPlace(str(path.relative_to(ROOT)), node.lineno, node.end_lineno or node.lineno, source)
                    )
    return found


class FailingOnce:
    """As a loop's task factory: one task that is started at `place` fails once, when `fail` was called."""

    def __init__(self, place: StartingPlace) -> None:
        self._place = place
        self._alive: list[tuple[_Coroutine, asyncio.Task[Any]]] = []
        self._waiting = False
        self.seen = False
        self.failed = False

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
        if not self._is_here():
            return asyncio.Task(coroutine, loop=loop, **options)
        self.seen = True
        wrapped = _Coroutine(coroutine, self)
        if self._waiting and not self.failed:
            wrapped.fails = True
        task = asyncio.Task(wrapped, loop=loop, **options)
        wrapped.task = task
        self._alive.append((wrapped, task))
        return task

    def fail(self) -> None:
        """The task that was started there last fails where it waits now, or else the next one at its first step."""
        self._waiting = True
        for wrapped, task in reversed(self._alive):
            if not task.done():
                wrapped.fails = True
                task.cancel()  # which wakes it up; what it gets is the fault
                return

    def _is_here(self) -> bool:
        frame = sys._getframe(2)
        while frame is not None:
            path = frame.f_code.co_filename
            if path.startswith(str(ROOT)) and ".venv" not in path and "/tests/" not in path:
                relative = str(Path(path).relative_to(ROOT))
                within = self._place.first_line <= frame.f_lineno <= self._place.last_line
                return relative == self._place.file and within
            frame = frame.f_back  # type: ignore[assignment]
        return False


class _Coroutine(collections.abc.Coroutine[Any, Any, Any]):
    def __init__(self, inner: Coroutine[Any, Any, Any], owner: FailingOnce) -> None:
        self._inner = inner
        self._owner = owner
        self._begun = False
        self.fails = False
        self.task: asyncio.Task[Any] | None = None

    def send(self, value: Any) -> Any:
        if self.fails and self._begun and not self._owner.failed:
            return self._fail()
        self._begun = True
        return self._inner.send(value)

    def throw(self, error: Any, *rest: Any) -> Any:
        if self.fails and not self._owner.failed:
            if self.task is not None:
                self.task.uncancel()
            return self._fail()
        return self._inner.throw(error, *rest)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError

    def _fail(self) -> Any:
        self._owner.failed = True
        return self._inner.throw(InjectedFault(str(self._owner)))
