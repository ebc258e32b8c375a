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


async def test_while_the_server_answers_none_of_its_threads_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def children(pid: int) -> list[int]:
        looks.append("children")
        return []

    monkeypatch.setattr("inference.supervisor.state_of", lambda pid: looks.append("states"))
    monkeypatch.setattr("inference.supervisor.children_of", children)
    options = TritonOptions(tmp_path, tmp_path, tmp_path, grpc_port=free_port())
    process = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    server = TritonServer(options, process)
    probes = 0

    async def live(timeout_s: float) -> bool:
        nonlocal probes
        probes += 1
        if probes == 5:
            process.kill()
        return True

    monkeypatch.setattr(server, "is_live", live)
    try:
        assert "ended with status" in await TritonSupervisor(options)._failure(server)
    finally:
        await server.kill()
    assert looks == ["children"], "its processes once, to look whether a signal has stopped one"
