"""What is open by a key ends with it: connections, and sessions that have none."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

_LOOK_S = 1.0
_END_LIMIT_S = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Open:
    caller: str
    stays: Callable[[], bool]
    end: Callable[[], Awaitable[None]]


class OpenByKey:
    """Looks each second at whatever is open whether its key is still there, and ends it where it isn't."""

    def __init__(self) -> None:
        self._open: set[_Open] = set()

    @contextmanager
    def one(self, caller: str, stays: Callable[[], bool], end: Callable[[], Awaitable[None]]) -> Iterator[None]:
        """Open for as long as the context lasts; once `stays` is false, `end` is called, perhaps more than once."""
        opened = _Open(caller, stays, end)
        self._open.add(opened)
        try:
            yield
        finally:
            self._open.discard(opened)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await anyio.sleep(_LOOK_S)
            lost = [each for each in self._open if not each.stays()]
            # At once, and with a limit: a client that reads nothing must not keep the others open.
            with anyio.move_on_after(_END_LIMIT_S):
                async with anyio.create_task_group() as group:
                    for each in lost:
                        group.start_soon(_end, each)


async def _end(opened: _Open) -> None:
    logger.info("%s is no more: what it had opened ends", opened.caller)
    try:
        await opened.end()
    except Exception:  # of this one; the others end too
        logger.exception("what %s had opened", opened.caller)
