"""A tritonserver that is kept running: one that exits or hangs is started again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from export.launcher import TritonLaunchError, TritonOptions, TritonServer

logger = logging.getLogger(__name__)

_ASK_EVERY_S = 1.0
_PATIENCE_S = 2.0
_SILENCES = 3
"""So often in a row it may fail to answer: a machine under load is slow, and a restart costs all that is under way."""
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 30.0
_GOOD_RUN_S = 60.0


class TritonSupervisor:
    """Owns a tritonserver; `run` keeps it up until it is cancelled, `aclose` ends it."""

    def __init__(
        self,
        options: TritonOptions,
        restarted: Callable[[], None] = lambda: None,
        first_delay_s: float = _FIRST_DELAY_S,
    ) -> None:
        """`restarted` is called after each restart, once the models are ready again."""
        self.restarted = restarted
        self._options = options
        self._first_delay_s = first_delay_s
        self._server: TritonServer | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id, None while there is none."""
        return None if self._server is None else self._server.pid

    async def start(self) -> None:
        """Returns when all models are ready; raises TritonLaunchError."""
        self._server = await TritonServer.start(self._options)

    async def run(self) -> None:
        """Watches the server, and starts it again with a pause that doubles while that doesn't help."""
        delay_s = self._first_delay_s
        while True:
            assert self._server is not None, "start comes first"
            began = time.monotonic()
            reason = await self._trouble(self._server)
            logger.error("%s; the end of its log:\n%s", reason, self._server.log_tail())
            await self._kill()
            if time.monotonic() - began > _GOOD_RUN_S:
                delay_s = self._first_delay_s
            while self._server is None:
                logger.warning("tritonserver is started again in %.1f s", delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
                try:
                    await self.start()
                except TritonLaunchError as error:
                    logger.error("%s", error)
            logger.warning("tritonserver runs again")
            self.restarted()

    async def aclose(self) -> None:
        """Ends the server in order."""
        if self._server is not None:
            await self._server.aclose()

    async def _trouble(self, server: TritonServer) -> str:
        """Returns once the server has ended or hangs; which of the two."""
        silences = 0
        while silences < _SILENCES:
            try:
                status = await asyncio.wait_for(server.wait(), _ASK_EVERY_S)
                return f"tritonserver ended with status {status}"
            except (TimeoutError, asyncio.TimeoutError):  # two kinds until Python 3.11
                silences = 0 if await server.is_live(_PATIENCE_S) else silences + 1
        return f"tritonserver has not answered {silences} times, for {_PATIENCE_S:g} s each"

    async def _kill(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.kill()
