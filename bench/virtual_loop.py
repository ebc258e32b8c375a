"""Time that passes only while everything waits: minutes of playing take a moment, and always the same way."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _JumpingSelector(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """What is ready now; time jumps by the timeout. Raises RuntimeError where nothing would ever be."""
        if timeout is None:
            raise RuntimeError("everything waits, and for nothing that time would bring")
        self.now += max(0.0, timeout)
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def in_virtual_time(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs it on a loop whose time jumps to whatever is due next."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(work)
