"""Fixtures: one real tritonserver for all tests of a process, serving a tiny checkpoint with random weights."""

import shutil
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from export.repository import export_repository
from inference.launcher import TritonOptions, TritonServer
from latentsync.checkpoint import Checkpoint
from tests.support.tiny_checkpoint import write_tiny_checkpoint


@pytest.fixture(scope="session")
def options_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TritonOptions]:
    """Launch options on free ports of this machine, with folders of their own."""

    def options(model_repository: Path, **others: Any) -> TritonOptions:
        probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        grpc, metrics = (probe.getsockname()[1] for probe in probes)
        for probe in probes:
            probe.close()
        folder = tmp_path_factory.mktemp("triton")
        ports = {"grpc_port": grpc, "metrics_port": metrics}
        return TritonOptions(model_repository, folder / "run", folder / "log", **ports, **others)

    return options


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Checkpoint.open(write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints")))


@pytest.fixture(scope="session")
def exported(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The checkpoint as a model repository in the folder that a test names; it is exported once for each batch size.

    It is served from elsewhere than where it was written: nothing in it may know where it lies.
    """
    made: dict[int, Path] = {}

    def copy_to(repository: Path, unet_batch: int = 1) -> Path:
        if unet_batch not in made:
            made[unet_batch] = tmp_path_factory.mktemp("exported") / "model_repository"
            # float32: what is compared here is the way through Triton, not what a shorter type costs.
            export_repository(
                checkpoint.directory, made[unet_batch], device="cpu", dtype="fp32", cpu_threads=1, unet_batch=unet_batch
            )
        return shutil.copytree(made[unet_batch], repository)

    return copy_to


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def triton_server(
    exported: Callable[..., Path], options_for: Callable[..., TritonOptions], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TritonServer]:
    repository = exported(tmp_path_factory.mktemp("mounted") / "models", unet_batch=4)
    running = await TritonServer.start(options_for(repository, exit_timeout_s=5))
    yield running
    await running.aclose()
