"""A tritonserver that is kept running: one that exits or hangs is started again.

Being on the same machine, the supervisor sees what no client can: whether a process that doesn't answer computes, waits
for a core, or does nothing at all. So it need not choose between patience with a busy server and a quick cure.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable

from inference.launcher import TritonLaunchError, TritonOptions, TritonServer
from processes.state import ProcessState, children_of, name_of, state_of

logger = logging.getLogger(__name__)

_ASK_EVERY_S = 0.25
_PATIENCE_S = 0.75
_STILL_SILENCES = 2
"""So often in a row it may fail to answer while nothing of it moves."""
_BUSY_PATIENCE_S = 6.0
"""So long it may fail to answer while it computes or wants to: a restart costs all that is under way."""
_OWN_DELAY_S = 0.1
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
        still, answered_at = 0, time.monotonic()
        stopped: set[int] = set()
        while True:
            before = _states(server.pid)
            try:
                status = await asyncio.wait_for(server.wait(), _ASK_EVERY_S)
                return f"tritonserver ended with status {status}"
            except TimeoutError:
                pass
            # Twice in a row: whoever stops a process for a moment, a debugger for one, must not lose it.
            stopped, earlier = {pid for pid, state in _states(server.pid).items() if state.stopped}, stopped
            if server.pid in stopped & earlier:
                return "tritonserver was stopped by a signal"
            _end(stopped & earlier)
            asked_at = time.monotonic()
            if await server.is_live(_PATIENCE_S):
                still, answered_at = 0, time.monotonic()
                continue
            if time.monotonic() - asked_at > _PATIENCE_S + _OWN_DELAY_S:
                continue  # it was us who had no core, and an answer may lie there unread
            still = still + 1 if _stood_still(before, _states(server.pid)) else 0
            silent_s = time.monotonic() - answered_at
            if still >= _STILL_SILENCES:
                return f"tritonserver has answered nothing for {silent_s:.1f} s, and computes nothing"
            if silent_s >= _BUSY_PATIENCE_S:
                return f"tritonserver has answered nothing for {silent_s:.1f} s"

    async def _kill(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.kill()


def _states(server: int) -> dict[int, ProcessState]:
    """The server's own process and those of its models."""
    states = {pid: state_of(pid) for pid in (server, *children_of(server))}
    return {pid: state for pid, state in states.items() if state is not None}


def _stood_still(before: dict[int, ProcessState], now: dict[int, ProcessState]) -> bool:
    return before.keys() == now.keys() and all(now[pid].stood_still_since(before[pid]) for pid in now)


def _end(stopped: set[int]) -> None:
    """Kill models' processes that were stopped: of a dead one Triton tells at once, and the model is loaded again."""
    for pid in stopped:
        logger.error("a model's process was stopped by a signal and is killed: %s", name_of(pid))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
