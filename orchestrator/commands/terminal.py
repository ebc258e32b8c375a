"""How commands read the settings, run until a signal, and end when something is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from orchestrator.settings import Settings
    from processes.stop_signals import StopSignals

_OUR_PACKAGES = (
    "latentsync", "export", "processes", "inference", "speech", "streaming", "conversation", "filming", "orchestrator",
    "bench",
)  # fmt: skip


def settings_or_exit(**overrides: Any) -> Settings:
    """The settings; wrong ones are named, and end the command."""
    from orchestrator.settings import SettingsError, load_settings

    try:
        return load_settings(**overrides)
    except SettingsError as error:
        fail(str(error))


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Errors of our own packages are sentences for the person at the terminal; all others keep their traceback."""
    try:
        yield
    except Exception as error:  # the one place that turns errors into an exit code
        cause = _innermost(error)
        if type(cause).__module__.partition(".")[0] not in _OUR_PACKAGES:
            raise
        fail(str(cause))


def run_until_signal(work: Callable[[StopSignals], Coroutine[Any, Any, None]]) -> None:
    """Run a server's coroutine until SIGINT or SIGTERM."""
    from processes.stop_signals import run_until_signal

    with errors_as_sentences():
        asyncio.run(run_until_signal(work))


def fail(message: str) -> NoReturn:
    """Say what is wrong, and end with exit code 1."""
    typer.echo(message, err=True)
    raise typer.Exit(1)


def _innermost(error: BaseException) -> BaseException:
    """The one error in a task group's group."""
    inner: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return _innermost(inner[0]) if len(inner) == 1 else error
