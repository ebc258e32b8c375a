"""Compiled graphs behind a real tritonserver: loaded without compiling, and the same faces as eager ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from numpy.testing import assert_allclose
from tritonclient.grpc.aio import InferenceServerClient

from export.repository import export_repository
from inference.launcher import TritonOptions, TritonServer
from latentsync.checkpoint import Checkpoint
from tests.support.chunks import denoised, infer, random_chunk
from tests.support.tiny_checkpoint import MOVING_UNET, UNET, write_tiny_checkpoint

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("unet", [UNET, MOVING_UNET], ids=["1.0", "1.5"])
@pytest.mark.parametrize("engine", ["compile", "aot"])
async def test_compiled_models_answer_as_eager_ones(
    options_for: Callable[..., TritonOptions], tmp_path: Path, engine: str, unet: dict[str, Any]
) -> None:
    checkpoint = Checkpoint.open(write_tiny_checkpoint(tmp_path / "checkpoints", unet))
    repository = tmp_path / "repository"
    export_repository(checkpoint.directory, repository, device="cpu", dtype="fp32", cpu_threads=1, engine=engine)
    server = await TritonServer.start(options_for(repository, exit_timeout_s=5))
    try:
        async with InferenceServerClient(f"127.0.0.1:{server.options.grpc_port}") as client:
            for guidance in (1.0, 1.5):
                chunk = random_chunk(seed=4, steps=2, guidance=guidance)
                latents = await infer(client, "unet", chunk.arrays())
                assert_allclose(latents, denoised(checkpoint, chunk), rtol=5e-3, atol=5e-3)
            faces = await infer(client, "lipsync", random_chunk(seed=4).arrays())
            assert faces.std() > 1
    finally:
        await server.aclose()
