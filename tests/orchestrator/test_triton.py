"""`triton`: what it counts of its own is there to be scraped."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from export.repository import RECORD, is_of_this_version
from inference.launcher import TritonLaunchError, TritonOptions
from inference.served_contract import ContractMismatch, served_contract
from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT_FILE
from orchestrator.orchestrator import Orchestrator
from orchestrator.triton import PortTaken, run_triton
from processes.stop_signals import StopSignals
from tests.support.checkpoints import checkpoint_in
from tests.support.model_processes import model_processes
from tests.support.running_server import free_port, settings_in

PORTS = ("triton_grpc_port", "triton_metrics_port", "triton_supervisor_port")


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.timeout(300)
async def test_restarts_of_a_triton_that_the_command_runs_are_counted_where_they_can_be_scraped(
    exported: Callable[..., Path], tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, **{name: free_port() for name in PORTS})
    exported(settings.model_repository)
    ready = asyncio.Event()
    running = asyncio.create_task(run_triton(settings, ready.set, StopSignals()))
    try:
        await ready.wait()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.triton_supervisor_port}") as http:

            async def restarts() -> bool:
                return "latentsync_triton_restarts_total 1.0" in (await http.get("/metrics")).text

            assert "latentsync_triton_restarts_total 0.0" in (await http.get("/metrics")).text
            end_server(settings.model_repository)
            while not await restarts():
                await asyncio.sleep(0.1)
    finally:
        running.cancel()
        await asyncio.wait({running})


def end_server(repository: Path) -> None:
    """Kill the tritonserver of a repository."""
    [model, *_] = model_processes(TritonOptions(repository, repository, repository), "unet")
    parent = int((Path("/proc") / str(model) / "stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)


async def test_what_keeps_triton_from_starting_is_named_before_it_starts(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    settings = settings_in(tmp_path, triton_supervisor_port=port)
    async with taken:
        with pytest.raises(TritonLaunchError, match="latentsync-realtime export"):
            await run_triton(settings, lambda: None, StopSignals())
        settings.model_repository.mkdir(parents=True)
        with pytest.raises(PortTaken, match=f"{port} is not free.*triton_supervisor_port"):
            await run_triton(settings, lambda: None, StopSignals())


async def test_repository_of_another_version_is_refused(exported: Callable[..., Path], tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    exported(settings.model_repository)
    assert is_of_this_version(settings.model_repository)
    path = settings.model_repository / RECORD
    record = json.loads(path.read_text())
    record["sources"]["unet/1/model.py"] = "as it was before"
    path.write_text(json.dumps(record))
    with pytest.raises(TritonLaunchError, match=r"another version.*latentsync-realtime export"):
        await run_triton(settings, lambda: None, StopSignals())


async def test_repository_of_another_checkpoint_is_served_with_a_warning_that_names_both(
    checkpoint: Checkpoint, exported: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]  # ends each start before tritonserver's
    own = settings_in(tmp_path, triton_supervisor_port=port, checkpoint_dir=checkpoint.directory)
    other = settings_in(tmp_path, triton_supervisor_port=port)
    exported(own.model_repository)
    async with taken:
        with pytest.raises(PortTaken):
            await run_triton(own, lambda: None, StopSignals())
        assert caplog.messages == []
        with pytest.raises(PortTaken):
            await run_triton(other, lambda: None, StopSignals())
    [said] = caplog.messages
    assert f"exported from {checkpoint.directory}, and checkpoint_dir is {other.checkpoint_dir}" in said
    assert f"Set LATENTSYNC_CHECKPOINT_DIR={checkpoint.directory} and LATENTSYNC_FURTHER_CHECKPOINTS='[]'" in said


async def test_repository_without_a_further_checkpoint_of_the_settings_is_served_with_a_warning_that_names_it(
    checkpoint: Checkpoint, exported: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]  # ends the start before tritonserver's
    further = checkpoint_in(tmp_path, "further")
    settings = settings_in(
        tmp_path,
        triton_supervisor_port=port,
        checkpoint_dir=checkpoint.directory,
        further_checkpoints=(further,),
    )
    exported(settings.model_repository)
    async with taken:
        with pytest.raises(PortTaken):
            await run_triton(settings, lambda: None, StopSignals())
    [said] = caplog.messages
    assert f'checkpoint_dir is {checkpoint.directory} with further_checkpoints ["{further}"]' in said


async def test_models_that_expect_other_numbers_are_refused(
    checkpoint: Checkpoint, exported: Callable[..., Path], tmp_path: Path
) -> None:
    settings = settings_in(tmp_path)
    exported(settings.model_repository)
    served = served_contract(settings.model_repository)
    assert served is not None and served.resolution == checkpoint.resolution
    path = settings.model_repository / CONTRACT_FILE
    path.write_text(path.read_text().replace('"chunk_frames": 16', '"chunk_frames": 32'))
    with pytest.raises(ContractMismatch, match=r"chunk_frames 32 instead of 16.*latentsync-realtime export"):
        await run_triton(settings, lambda: None, StopSignals())
    with pytest.raises(ContractMismatch, match="chunk_frames 32 instead of 16"):
        Orchestrator(settings)
