"""Starting a tritonserver either gives one that is ready, or one clear reason why not and no process left."""

import asyncio
import os
import signal
import socket
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inference import embedded_triton
from inference.launcher import TritonLaunchError, TritonOptions, TritonServer, launch_command
from tests.support.processes import descendants, is_running
from tests.support.toy_model import WORKING_MODEL, write_model

BROKEN_MODEL = """
class TritonPythonModel:
    def initialize(self, args):
        raise ValueError("the weights are not there")
"""
SLEEPING_MODEL = """
import time

class TritonPythonModel:
    def initialize(self, args):
        time.sleep(60)
"""
START_AND_STAY = """
import asyncio, sys
from pathlib import Path
from inference.launcher import TritonOptions, TritonServer

async def main(repository, folder, *ports):
    grpc, metrics = map(int, ports)
    options = TritonOptions(
        Path(repository), Path(folder), Path(folder), grpc_port=grpc, metrics_port=metrics
    )
    server = await TritonServer.start(options)
    print(server.pid, flush=True)
    await server.wait()

asyncio.run(main(*sys.argv[1:]))
"""


def children() -> list[str]:
    """Command names of this process's children, one for each of them."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids if Path(f"/proc/{pid}/comm").exists()]


@pytest.fixture
def no_server_is_left() -> Iterator[None]:
    """Fails when a test leaves a tritonserver more than it found (the session's own may run)."""
    before = sum(name == "tritonserver" for name in children())
    yield
    assert sum(name == "tritonserver" for name in children()) == before


async def test_a_model_that_fails_to_load_shows_its_error_from_the_log(
    tmp_path: Path, options_for: Callable[..., TritonOptions], no_server_is_left: None
) -> None:
    repository = write_model(tmp_path / "models", BROKEN_MODEL)

    with pytest.raises(TritonLaunchError, match=r"(?s)before it was ready.*the weights are not there"):
        await TritonServer.start(options_for(repository))


async def test_a_server_that_is_not_ready_in_time_is_stopped(
    tmp_path: Path, options_for: Callable[..., TritonOptions], no_server_is_left: None
) -> None:
    repository = write_model(tmp_path / "models", SLEEPING_MODEL)

    with pytest.raises(TritonLaunchError, match=r"not ready after 2 s; the end of .*tritonserver\.log"):
        await TritonServer.start(options_for(repository, ready_timeout_s=2))


async def test_a_start_that_is_cancelled_leaves_no_process(
    tmp_path: Path, options_for: Callable[..., TritonOptions], no_server_is_left: None
) -> None:
    options = options_for(write_model(tmp_path / "models", SLEEPING_MODEL))
    starting = asyncio.create_task(TritonServer.start(options))
    while not options.log_path.exists() or not options.log_path.stat().st_size:
        await asyncio.sleep(0.05)

    starting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await starting


async def test_a_killed_server_leaves_no_shared_memory(
    tmp_path: Path, options_for: Callable[..., TritonOptions]
) -> None:
    options = options_for(write_model(tmp_path / "models", WORKING_MODEL))
    server = await TritonServer.start(options)
    assert list(Path("/dev/shm").glob(f"{options.shared_memory_prefix}*"))

    await server.kill()

    assert not list(Path("/dev/shm").glob(f"{options.shared_memory_prefix}*"))


@pytest.mark.parametrize("stopped", [False, True])
async def test_the_server_and_its_models_end_with_a_parent_that_is_killed(
    tmp_path: Path, options_for: Callable[..., TritonOptions], stopped: bool
) -> None:
    options = options_for(write_model(tmp_path / "models", WORKING_MODEL))
    ports = map(str, (options.grpc_port, options.metrics_port))
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", START_AND_STAY, str(options.model_repository), str(tmp_path), *ports),
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    server = int((await parent.stdout.readline()).decode())
    assert Path(f"/proc/{server}/comm").read_text() == "tritonserver\n"
    models = descendants(server)
    assert models
    if stopped:
        os.kill(server, signal.SIGSTOP)

    parent.kill()
    await parent.wait()

    while any(is_running(pid) for pid in (server, *models)):
        await asyncio.sleep(0.1)


async def test_a_port_in_use_is_named(tmp_path: Path, options_for: Callable[..., TritonOptions]) -> None:
    options = options_for(tmp_path)
    with (
        socket.create_server((options.host, options.grpc_port)),
        pytest.raises(TritonLaunchError, match=rf"127\.0\.0\.1:{options.grpc_port} is not free.*triton_grpc_port"),
    ):
        await TritonServer.start(options)


def test_a_missing_repository_says_which_command_writes_it(
    tmp_path: Path, options_for: Callable[..., TritonOptions]
) -> None:
    with pytest.raises(TritonLaunchError, match="`latentsync-realtime export` writes"):
        launch_command(options_for(tmp_path / "none"))


def test_a_given_binary_runs_with_its_own_backends(tmp_path: Path, options_for: Callable[..., TritonOptions]) -> None:
    binary = tmp_path / "tritonserver"
    binary.touch(mode=0o755)

    command, _ = launch_command(options_for(tmp_path, binary=binary))

    assert command[0] == str(binary)
    assert not [argument for argument in command if argument.startswith("--backend-directory")]


def test_the_one_on_path_goes_before_the_embedded_one(
    tmp_path: Path, options_for: Callable[..., TritonOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tritonserver").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    command, _ = launch_command(options_for(tmp_path))

    assert command[0] == str(tmp_path / "tritonserver")


def test_a_python_without_shared_library_gets_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(embedded_triton, "_VERSION", "3.99")

    with pytest.raises(TritonLaunchError, match=r"has no shared libpython3\.99\.so\.1\.0.*--enable-shared") as refused:
        embedded_triton.libpython_dir()

    assert "\n" not in str(refused.value)
