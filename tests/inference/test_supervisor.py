"""A tritonserver that doesn't answer: at once where it does nothing, with patience where it computes."""

import asyncio
import sys
from pathlib import Path

import pytest

from inference.launcher import TritonOptions, TritonServer
from inference.supervisor import TritonSupervisor
from tests.support.running_server import free_port

# Connections come about, and nobody ever reads what they say.
DEAF = "import socket, time; s = socket.create_server(('127.0.0.1', int({port}))); print(flush=True); "


@pytest.mark.parametrize(
    ("doing", "said"),
    [("time.sleep(600)", "and computes nothing"), ("\nwhile True: pass", "s")],
    ids=["idle", "busy"],
)
async def test_server_that_answers_nothing_is_told_from_one_that_computes(
    tmp_path: Path, doing: str, said: str
) -> None:
    options = TritonOptions(tmp_path, tmp_path, tmp_path, grpc_port=free_port())
    program = DEAF.format(port=options.grpc_port) + doing
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    await process.stdout.readline()
    server = TritonServer(options, process)
    try:
        reason = await TritonSupervisor(options)._failure(server)
    finally:
        await server.kill()
    assert reason.startswith("tritonserver has answered nothing for") and reason.endswith(said)
    assert ("computes nothing" in reason) == (said != "s")
