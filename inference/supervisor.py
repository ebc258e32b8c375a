"""Keeps a tritonserver running: one that exits or hangs is restarted.

The supervisor runs on the same machine, so it sees what no client can: whether a process that doesn't answer computes,
waits for a core, or does nothing at all. A hanging server is restarted quickly, and a busy one is given time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from inference.launcher import TritonLaunchError, TritonOptions, TritonServer
from processes.state import ProcessState, children_of, is_stopped, name_of, state_of

T = TypeVar("T")

logger = logging.getLogger(__name__)

_PROBE_INTERVAL_S = 0.25
_PROBE_TIMEOUT_S = 0.75
_LIST_INTERVAL_S = 10.0
"""Models' processes change where a model is loaded again; to find them, a file for each of Triton's threads is read."""
_IDLE_FAILURES = 2
"""Failed probes after a first one, with no work of the server's processes since the one before: then it hangs."""
_BUSY_TIMEOUT_S = 6.0
"""For a server that computes or waits for a core: a restart loses all requests in flight."""
_OWN_LAG_S = 0.1
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
_STABLE_RUN_S = 60.0


class TritonSupervisor:
    """Owns a tritonserver; `run` keeps it running until cancelled, `aclose` ends it."""

    def __init__(
        self,
        options: TritonOptions,
        restarted: Callable[[], None] = lambda: None,
        first_delay_s: float = _FIRST_BACKOFF_S,
    ) -> None:
        """`restarted` is called after each restart, once the models are ready again."""
        self.restarted = restarted
        self._options = options
        self._first_delay_s = first_delay_s
        self._server: TritonServer | None = None
        self._reader = ThreadPoolExecutor(1, "triton-states")

    @property
    def pid(self) -> int | None:
        """The server's process id, None while there is none."""
        return None if self._server is None else self._server.pid

    async def start(self) -> None:
        """Start the server; return when all models are ready. Raises TritonLaunchError."""
        self._server = await TritonServer.start(self._options)

    async def run(self) -> None:
        """Watch the server and restart it when it fails, with exponential back-off while restarts fail."""
        delay_s = self._first_delay_s
        while True:
            assert self._server is not None, "start comes first"
            began = time.monotonic()
            reason = await self._failure(self._server)
            logger.error("%s; the end of its log:\n%s", reason, self._server.log_tail())
            await self._kill()
            if time.monotonic() - began > _STABLE_RUN_S:
                delay_s = self._first_delay_s
            while self._server is None:
                logger.warning("tritonserver is restarted in %.1f s", delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _LONGEST_BACKOFF_S)
                try:
                    await self.start()
                except TritonLaunchError as error:
                    logger.error("%s", error)
            logger.warning("tritonserver is running again")
            self.restarted()

    async def aclose(self) -> None:
        """Shut the server down in order."""
        self._reader.shutdown(wait=False)
        if self._server is not None:
            await self._server.aclose()

    async def _failure(self, server: TritonServer) -> str:
        """Return once the server has ended or hangs, with the reason."""
        idle_failures, answered_at = 0, time.monotonic()
        listed_at, stopped = -math.inf, set[int]()
        processes: tuple[int, ...] = (server.pid,)
        # Since the probe that failed last. Not while all is well: with CUDA these are hundreds of files.
        states: dict[int, ProcessState] | None = None
        while True:
            try:
                status = await asyncio.wait_for(server.wait(), _PROBE_INTERVAL_S)
                return f"tritonserver ended with status {status}"
            except TimeoutError:
                pass
            now = time.monotonic()
            if now - listed_at >= _LIST_INTERVAL_S:
                listed_at, processes = now, (server.pid, *await self._read(children_of, server.pid))
            # Twice in a row: a process that is stopped for a moment, by a debugger for example, must not be killed.
            stopped, earlier = {pid for pid in processes if is_stopped(pid)}, stopped
            if server.pid in stopped & earlier:
                return "tritonserver was stopped by a signal"
            _kill_stopped(stopped & earlier)
            probed_at = time.monotonic()
            if await server.is_live(_PROBE_TIMEOUT_S):
                idle_failures, answered_at, states = 0, time.monotonic(), None
                continue
            if time.monotonic() - probed_at > _PROBE_TIMEOUT_S + _OWN_LAG_S:
                continue  # this process itself got no core, and an answer may be waiting unread
            states, before = await self._read(_states, server.pid), states
            idle_failures = idle_failures + 1 if before is not None and _did_nothing(before, states) else 0
            silent_s = time.monotonic() - answered_at
            if idle_failures >= _IDLE_FAILURES:
                return f"tritonserver has answered nothing for {silent_s:.1f} s, and computes nothing"
            if silent_s >= _BUSY_TIMEOUT_S:
                return f"tritonserver has answered nothing for {silent_s:.1f} s"

    async def _read(self, look: Callable[[int], T], pid: int) -> T:
        # In a thread of its own: others may all wait for a disk.
        return await asyncio.get_running_loop().run_in_executor(self._reader, look, pid)

    async def _kill(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.kill()


def _states(server: int) -> dict[int, ProcessState]:
    """States of the server's own process and of its models' processes, by process id."""
    states = {pid: state_of(pid) for pid in (server, *children_of(server))}
    return {pid: state for pid, state in states.items() if state is not None}


def _did_nothing(before: dict[int, ProcessState], now: dict[int, ProcessState]) -> bool:
    return before.keys() == now.keys() and all(now[pid].stood_still_since(before[pid]) for pid in now)


def _kill_stopped(stopped: set[int]) -> None:
    """Kill models' processes that were stopped: Triton reports a dead one at once, and the model is reloaded."""
    for pid in stopped:
        logger.error("a model's process was stopped by a signal and is killed: %s", name_of(pid))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
