"""Background work that is restarted after an unexpected error."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0

logger = logging.getLogger(__name__)


async def keep_running(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` to its end; an unexpected error is logged, and it is run again after 1 s, later after up to 30 s."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await work()
        except Exception:  # an error of one part must not end the others
            logger.exception("%s failed unexpectedly, and begins again in %.0f s", name, pause_s)
        await anyio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
