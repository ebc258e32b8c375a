"""Breaks a part of the running server on purpose, and takes it back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.rtmp_server import RtmpServer
from bench.stream.findings import Fault
from bench.stream.load import LoadMeter
from bench.stream.plan import FaultKind, PlannedFault

_LOCK_PATIENCE_S = 10.0
_HOLD_WRITE_LOCK = """
import sqlite3, sys, time
store, patience_s, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
database = sqlite3.connect(store, timeout=patience_s, isolation_level=None)
database.execute("BEGIN IMMEDIATE")
time.sleep(seconds)
"""


class FaultInjector:
    """Breaks one part at a time; of several channels it is the first.

    `store` is the task store's file. `fail_models` has the models fail for so many seconds from now on. `reconnect` has
    viewers open new connections, as players do once a stream ends; it is called when the last of a broken channel's
    packets have passed. `interrupt` interrupts what the channel says.
    """

    def __init__(
        self,
        rtmp: RtmpServer,
        processes: LoadMeter,
        store: Path,
        fail_models: Callable[[float], None],
        reconnect: Callable[[], None],
        interrupt: Callable[[], Awaitable[None]],
    ) -> None:
        self._rtmp = rtmp
        self._processes = processes
        self._store = store
        self._fail_models = fail_models
        self._reconnect = reconnect
        self._interrupt = interrupt

    async def strike(self, planned: PlannedFault, speech: int | None) -> Fault:
        """Breaks a part for as long as planned; `speech` is the one that plays, for the record."""
        kind, at = planned.kind, time.monotonic()
        match kind:
            case FaultKind.SERVER_KILLED:
                await asyncio.to_thread(self._rtmp.stop)
                await asyncio.sleep(planned.lasts_s)
                await asyncio.to_thread(self._rtmp.start)
            case FaultKind.SERVER_HUNG:
                self._rtmp.hang()
                await asyncio.sleep(planned.lasts_s)
                self._rtmp.resume()
            case FaultKind.ENCODER_KILLED:
                self._signal("encoder", signal.SIGKILL)
            case FaultKind.ENCODER_STOPPED:
                pid = self._signal("encoder", signal.SIGSTOP)
                await asyncio.sleep(planned.lasts_s)
                with contextlib.suppress(ProcessLookupError):  # its publisher has replaced it
                    os.kill(pid, signal.SIGCONT)
            case FaultKind.CHANNEL_KILLED | FaultKind.CHANNEL_STOPPED:
                self._signal("channel", signal.SIGKILL if kind is FaultKind.CHANNEL_KILLED else signal.SIGSTOP)
                await asyncio.sleep(planned.lasts_s)
                self._reconnect()
                return Fault(kind, at, at, speech)  # to start another process is the product's own business
            case FaultKind.STORE_LOCKED:
                await self._hold_store(planned.lasts_s)
            case FaultKind.MODELS_FAIL:
                self._fail_models(planned.lasts_s)
                await asyncio.sleep(planned.lasts_s)
            case FaultKind.INTERRUPT:
                await self._interrupt()
        return Fault(kind, at, time.monotonic(), speech)

    def _signal(self, role: str, number: signal.Signals) -> int:
        pid = next(pid for each, pid in self._processes.processes() if each == role)
        os.kill(pid, number)
        return pid

    async def _hold_store(self, seconds: float) -> None:
        """Another program holds the write lock, as a backup does.

        SQLite keeps files open that two connections of one process have used, and the files are counted.
        """
        command = [sys.executable, "-c", _HOLD_WRITE_LOCK, str(self._store), str(_LOCK_PATIENCE_S), str(seconds)]
        holder = await asyncio.create_subprocess_exec(*command)
        if code := await holder.wait():
            raise RuntimeError(f"{self._store} can't be locked: the program that was to do it ended with {code}")
