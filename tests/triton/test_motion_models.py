"""A checkpoint of LatentSync 1.5's kind behind a real tritonserver: chunks of all lengths, alone and together."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tritonclient.grpc.aio import InferenceServerClient

from export.repository import export_repository
from inference.launcher import TritonOptions, TritonServer
from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from latentsync.unet import MotionLayers
from tests.support.chunks import denoised, infer, random_chunk
from tests.support.tiny_checkpoint import MOVING_UNET, RESOLUTION, write_tiny_checkpoint

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_chunks_are_denoised_with_their_motion_modules(
    options_for: Callable[..., TritonOptions], tmp_path: Path
) -> None:
    checkpoint = Checkpoint.open(write_tiny_checkpoint(tmp_path / "checkpoints", MOVING_UNET))
    assert checkpoint.load_unet().config.motion_modules is MotionLayers.ALL
    repository = tmp_path / "repository"
    export_repository(checkpoint.directory, repository, device="cpu", dtype="fp32", cpu_threads=1, unet_batch=2)
    server = await TritonServer.start(options_for(repository, exit_timeout_s=5))
    try:
        async with InferenceServerClient(f"127.0.0.1:{server.options.grpc_port}") as client:
            for frames in CONTRACT.chunk_lengths:
                chunks = [random_chunk(seed, guidance=1.5, frames=frames) for seed in (5, 6)]
                found = await asyncio.gather(*(infer(client, "unet", chunk.arrays()) for chunk in chunks))
                for latents, chunk in zip(found, chunks, strict=True):
                    assert_allclose(latents, denoised(checkpoint, chunk), rtol=5e-3, atol=5e-3)
            faces = await infer(client, "lipsync", random_chunk(7).arrays())
    finally:
        await server.aclose()
    assert faces.shape == (CONTRACT.chunk_frames, RESOLUTION, RESOLUTION, 3)
    assert np.ptp(faces) > 1
