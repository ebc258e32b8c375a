"""A model that runs out of memory: smaller batches first, then a model loaded anew; the speech is said."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from inference.client import CHUNK_FRAMES, TritonClient
from inference.launcher import TritonOptions, TritonServer
from inference.retry import RetryPolicy
from inference.transport import TritonSettings
from tests.support.running_server import metric, running, settings_in
from tests.support.speech_samples import wav
from tests.support.tiny_checkpoint import RESOLUTION

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

# The UNet's own model.py, with memory for one chunk at a time, and for none while `leak` is there, which a load ends.
STARVED = """

from pathlib import Path

import torch


class StarvedModel(DenoisingModel):
    def __init__(self, instance, checkpoint):
        self._leak = Path(__file__).with_name("leak")
        self._leak.unlink(missing_ok=True)
        super().__init__(instance, checkpoint)

    def _denoise(self, chunks):
        if self._leak.exists() or len(chunks) > 1:
            with Path(__file__).with_name("refused").open("a") as refused:
                refused.write(f"{len(chunks)}\\n")
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return super()._denoise(chunks)


DenoisingModel = StarvedModel
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def triton(
    exported: Callable[..., Path], options_for: Callable[..., TritonOptions], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TritonServer]:
    repository = exported(tmp_path_factory.mktemp("served") / "models", unet_batch=4)
    model = repository / "unet" / "1" / "model.py"
    model.write_text(model.read_text() + STARVED)
    server = await TritonServer.start(options_for(repository, exit_timeout_s=3))
    yield server
    await server.aclose()


def refused(triton: TritonServer) -> list[int]:
    """The sizes of the batches that there was no memory for, in chunks."""
    file = triton.options.model_repository / "unet" / "1" / "refused"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


async def test_batch_that_does_not_fit_is_made_in_halves(triton: TritonServer) -> None:
    size = RESOLUTION // 8
    settings = TritonSettings(f"127.0.0.1:{triton.options.grpc_port}", retry=RetryPolicy(attempts=1))
    async with TritonClient(settings) as client:

        async def faces(value: float) -> NDArray[Any]:
            return await client.faces(
                np.full((4, size, size), value, np.float32),
                np.zeros((CHUNK_FRAMES, 9, size, size), np.float16),
                np.zeros((CHUNK_FRAMES, 50, 384), np.float16),
                steps=4,
                guidance=1.0,
            )

        together = await asyncio.gather(*(faces(value / 10) for value in range(9)))
        assert max(refused(triton)) > 1, "nothing was batched, and nothing tested"
        for value in (0, 8):
            alone = await faces(value / 10)
            assert np.abs(together[value].astype(int) - alone.astype(int)).max() <= 1, "each got its own faces"


async def test_model_that_finds_no_memory_at_all_is_loaded_again_and_the_speech_said(
    triton: TritonServer, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, triton_url=f"127.0.0.1:{triton.options.grpc_port}")
    async with running(settings, real_client=True, resolution=RESOLUTION) as server:
        await server.ready()
        (triton.options.model_repository / "unet" / "1" / "leak").touch()
        answer = await server.http.post("/v1/tasks", files={"audio_file": ("a.wav", wav(0.3))})
        task = await server.task(answer.json()["task_id"], "done")
        assert task["frames"]["played"] == task["frames"]["total"] and task["attempts"] == 1
        assert refused(triton).count(1) >= 2, "tried again before the model was loaded again"
        assert await metric(server, 'latentsync_model_reloads_total{model="unet",result="true"}') == 1
