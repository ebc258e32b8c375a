"""SIGINT and SIGTERM as one callback, from a program's start to its end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Calls `action` at each signal; what a signal has to do differs at start, in service and at the end."""

    def __init__(self) -> None:
        self.action: Callable[[], None] = self.ignore

    def ignore(self) -> None:
        """From now on signals do nothing: the program is stopping already."""
        self.action = lambda: None


async def run_until_signal(work: Callable[[StopSignals], Coroutine[Any, Any, None]]) -> None:
    """Run `work`, which is given the signals; until it sets an action of its own, the first signal cancels it.

    Needs the event loop of the main thread. A signal is a normal end: nothing is raised for it.
    """
    signals = StopSignals()
    task = asyncio.create_task(work(signals))

    def cancel() -> None:
        signals.ignore()  # a second signal must not disturb the clean-up
        task.cancel()

    signals.action = cancel
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, lambda: signals.action())
    try:
        await asyncio.wait({task})
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
    if not task.cancelled():
        task.result()
