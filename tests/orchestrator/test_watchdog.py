"""A model's process that dies or hangs is noticed without a task, and the model is loaded again."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from inference.launcher import TritonOptions, TritonServer
from inference.supervisor import TritonSupervisor
from orchestrator.observability.metrics import triton_restarts
from tests.support.model_processes import model_processes
from tests.support.running_server import metric, running, settings_in
from tests.support.speech_samples import wav
from tests.support.tiny_checkpoint import RESOLUTION

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


async def test_restart_of_a_tritonserver_that_exits_is_counted(
    exported: Callable[..., Path], options_for: Callable[..., TritonOptions], tmp_path: Path
) -> None:
    exported(tmp_path / "models")
    options = options_for(tmp_path / "models", exit_timeout_s=3)
    supervisor = TritonSupervisor(options)
    await supervisor.start()
    keeping = asyncio.create_task(supervisor.run())
    try:
        settings = settings_in(tmp_path, triton_url=f"127.0.0.1:{options.grpc_port}")
        async with running(settings, real_client=True, resolution=RESOLUTION) as server:
            supervisor.restarted = triton_restarts(server.orchestrator.metrics.registry).inc
            await server.ready()
            assert supervisor.pid is not None
            os.kill(supervisor.pid, signal.SIGKILL)
            while (await server.http.get("/health/ready")).status_code == 200:
                await asyncio.sleep(0.05)
            await server.ready()
            # It is counted once its start is over, which the server may see first.
            while await metric(server, "latentsync_triton_restarts_total") == 0:
                await asyncio.sleep(0.05)
            assert await metric(server, "latentsync_triton_restarts_total") == 1
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await supervisor.aclose()


async def test_models_process_that_is_stopped_at_work_is_ended_by_the_supervisor_and_the_speech_is_said(
    exported: Callable[..., Path],
    options_for: Callable[..., TritonOptions],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    exported(tmp_path / "models")
    options = options_for(tmp_path / "models", exit_timeout_s=3)
    supervisor = TritonSupervisor(options)
    await supervisor.start()
    keeping = asyncio.create_task(supervisor.run())
    server_pid = supervisor.pid
    try:
        settings = settings_in(tmp_path, triton_url=f"127.0.0.1:{options.grpc_port}")
        async with running(settings, real_client=True, resolution=RESOLUTION) as server:
            await server.ready()
            answer = await server.http.post("/v1/tasks", files={"audio_file": ("a.wav", wav(20))})
            # Longer than the channel's ring of 10 s, so that not all of its faces are made before.
            await server.task(answer.json()["task_id"], "streaming")
            [process] = model_processes(options, "unet")
            os.kill(process, signal.SIGSTOP)
            task = await server.task(answer.json()["task_id"], "done")
            assert task["frames"]["generated"] == task["frames"]["played"] == task["frames"]["total"]
            assert await metric(server, 'latentsync_model_failures_total{model="unet"}') == 1
            assert await metric(server, 'latentsync_model_reloads_total{model="unet",result="true"}') == 1
        assert supervisor.pid == server_pid, "Triton itself was not started again"
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await supervisor.aclose()
    assert any("was stopped by a signal and is killed" in record.message for record in caplog.records)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def triton(
    exported: Callable[..., Path], options_for: Callable[..., TritonOptions], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TritonServer]:
    """One for all cases: each ends with every model loaded."""
    repository = exported(tmp_path_factory.mktemp("served") / "models")
    server = await TritonServer.start(options_for(repository, exit_timeout_s=3))
    yield server
    await server.aclose()


@pytest.mark.parametrize(("model", "number"), [("whisper", signal.SIGKILL), ("unet", signal.SIGSTOP)])
async def test_dead_or_hanging_process_is_noticed_and_the_model_loaded_again(
    triton: TritonServer, tmp_path: Path, model: str, number: signal.Signals
) -> None:
    settings = settings_in(tmp_path, triton_url=f"127.0.0.1:{triton.options.grpc_port}")
    async with running(settings, real_client=True, resolution=RESOLUTION) as server:
        await server.ready()
        assert await metric(server, f'latentsync_model_up{{model="{model}"}}') == 1
        (process,) = model_processes(triton.options, model)
        os.kill(process, number)
        while (health := await server.http.get("/health/ready")).status_code == 200:
            await asyncio.sleep(0.05)
        assert model in health.json()["parts"]["triton"]["message"]
        while not await metric(server, f'latentsync_model_failures_total{{model="{model}"}}'):
            await asyncio.sleep(0.05)
        await server.ready()
        assert await metric(server, f'latentsync_model_reloads_total{{model="{model}",result="true"}}') == 1
        assert model_processes(triton.options, model) not in ([], [process])
        answer = await server.http.post("/v1/tasks", files={"audio_file": ("a.wav", wav(0.5))})
        await server.task(answer.json()["task_id"], "done")
