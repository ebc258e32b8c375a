"""Health checks that do real work, against a real tritonserver and a real orchestrator."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tritonclient.grpc.aio import InferenceServerClient

from inference.launcher import TritonOptions, TritonServer
from orchestrator.probe import ProbeFailed, probe_server, probe_triton
from tests.support.command_line import cli
from tests.support.counts import settled_counters
from tests.support.running_server import running, settings_in

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_every_model_is_asked_for_an_inference(triton_server: TritonServer) -> None:
    async with InferenceServerClient(address(triton_server)) as client:
        before = await settled_counters(client)
        assert await probe_triton(address(triton_server), timeout_s=60) > 0
        after = await settled_counters(client)
    made = {name: counters.inferences - before[name].inferences for name, counters in after.items()}
    assert {name: count for name, count in made.items() if count > 0} == {"whisper": 1, "unet": 1, "vae_decoder": 1}


async def test_dead_model_process_is_found_although_triton_says_ready(
    exported: Callable[..., Path], options_for: Callable[..., TritonOptions], tmp_path: Path
) -> None:
    server = await TritonServer.start(options_for(exported(tmp_path / "models"), exit_timeout_s=1))
    try:
        for model in ("vae_decoder", "unet", "whisper"):  # the last that is asked first: it says which it finds dead
            os.kill(stub_of(server, model), signal.SIGKILL)
            assert await server.is_ready()
            with pytest.raises(ProbeFailed, match=model):
                await probe_triton(address(server), timeout_s=60)
    finally:
        await server.kill()


async def test_without_triton_the_probe_says_so_and_fails() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers there
        port = held.getsockname()[1]
        answer = cli("probe", "triton", LATENTSYNC_TRITON_GRPC_PORT=str(port))
    assert answer.returncode == 1
    assert f"127.0.0.1:{port}" in answer.stderr and "Traceback" not in answer.stderr


async def test_orchestrator_without_triton_lives_and_its_absence_is_told(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server:
        port = server.orchestrator.settings.http_port
        assert await asyncio.to_thread(probe_server, f"http://127.0.0.1:{port}") == "live"
        answer = await asyncio.to_thread(cli, "probe", "server", "--port", str(port))
        assert (answer.returncode, answer.stdout) == (0, "live\n"), answer.stderr
    with pytest.raises(ProbeFailed, match="refused"):
        probe_server(f"http://127.0.0.1:{port}")


def address(server: TritonServer) -> str:
    return f"127.0.0.1:{server.options.grpc_port}"


def stub_of(server: TritonServer, model: str) -> int:
    """The process id of a model's Python stub, a descendant of the server."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode().split("\0")
        except FileNotFoundError:
            continue
        prefix = server.options.shared_memory_prefix
        ours = any(argument.startswith(prefix) for argument in command)
        if "triton_python_backend_stub" in command[0] and ours and any(f"/{model}/" in word for word in command):
            return int(process.name)
    raise AssertionError(f"no process of {model}")
