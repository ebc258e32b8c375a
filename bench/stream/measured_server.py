"""The server that a stream is measured on, as a process of its own: nothing of the bench is counted with it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from bench.stream.stand_ins import NumberedModels
from orchestrator.orchestrator import Orchestrator
from orchestrator.server import OrchestratorServer
from orchestrator.settings import load_settings
from processes.freed_memory import give_back_freed_memory
from processes.tethered import tethered

_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 60.0
_POOL_THREADS = 64
_STARTED = b"started\n"


class ServerEnded(RuntimeError):
    """The measured server did not start, or did not end well; its own words are on standard error."""


@dataclass(frozen=True)
class ModelsPlan:
    """What `NumberedModels` is made of; `late` holds (speech, frame, seconds)."""

    speeches: int
    rate: float
    late: list[tuple[int, int, float]]


class MeasuredServer:
    """A running server; `pid` is the orchestrator's."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    def fail_for(self, seconds: float) -> None:
        """From now on every request to its models fails for so long."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n".encode())


@asynccontextmanager
async def measured_server(settings: dict[str, Any], models: ModelsPlan) -> AsyncIterator[MeasuredServer]:
    """Runs a server with these settings, which JSON can hold, until the block ends.

    Raises ServerEnded.
    """
    process = await asyncio.create_subprocess_exec(
        *tethered(sys.executable, "-m", __name__, json.dumps(settings), json.dumps(asdict(models))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        try:
            said = await asyncio.wait_for(process.stdout.readline(), _START_LIMIT_S)
        except TimeoutError:
            said = b""
        if said != _STARTED:
            raise ServerEnded(f"the measured server did not start within {_START_LIMIT_S:g} s")
        yield MeasuredServer(process)
    finally:
        process.stdin.close()
        try:
            code = await asyncio.wait_for(process.wait(), _STOP_LIMIT_S)
        finally:
            if process.returncode is None:
                process.kill()
    if code:
        raise ServerEnded(f"the measured server ended with {code}")


async def _serve(settings: dict[str, Any], speeches: int, rate: float, late: list[tuple[int, int, float]]) -> None:
    give_back_freed_memory()  # as `serve` does
    models = NumberedModels(speeches, rate, {speech: (frame, seconds) for speech, frame, seconds in late})
    orchestrator = Orchestrator(load_settings(**settings), client=models, test_pattern=True)  # type: ignore[arg-type]  # stands in for it
    server = OrchestratorServer(orchestrator, partial(print, _STARTED.decode(), end="", flush=True))
    # The pool of threads grows to its bound with what is asked at once; it is filled now, before threads are counted.
    await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.1) for _ in range(_POOL_THREADS)))
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    obeying = asyncio.create_task(_obey(commands, models, server))
    try:
        await server.serve()
    finally:
        obeying.cancel()


async def _obey(commands: asyncio.StreamReader, models: NumberedModels, server: OrchestratorServer) -> None:
    """Each line has the seconds for which the models fail from now on; the end of the lines stops the server."""
    while line := await commands.readline():
        models.fail_for(float(line))
    server.stop()


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1]), **json.loads(sys.argv[2])))
