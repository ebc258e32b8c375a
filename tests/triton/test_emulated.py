"""Emulated GPUs in a real tritonserver: the product's own client takes them for the models."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from bench.gpu.emulated.repository import Emulation, write_emulated
from bench.gpu.emulated.times import GpuTimes
from inference.capacity import Capacity
from inference.client import TritonClient
from inference.launcher import TritonOptions, TritonServer
from inference.liveness import refused_inputs
from inference.transport import TritonSettings
from latentsync.contract import CONTRACT
from orchestrator.settings import SettingsError
from tests.support.chunks import infer, random_chunk
from tests.support.tiny_checkpoint import RESOLUTION

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUICK = GpuTimes((0.1, 0.2, 0.3, 0.4), 0.1, steps=20)


async def test_chunks_are_answered_blank_and_signs_of_life_as_by_the_models(
    triton_server: TritonServer, options_for: Callable[..., TritonOptions], tmp_path: Path
) -> None:
    exported = triton_server.options.model_repository
    repository = write_emulated(exported, tmp_path / "emulated", Emulation(3, "a record", QUICK))
    emulated = await TritonServer.start(options_for(repository, exit_timeout_s=5))
    try:
        settings = TritonSettings(url=f"127.0.0.1:{emulated.options.grpc_port}")
        async with TritonClient(settings) as client, InferenceServerClient(settings.url) as connected:
            chunk = random_chunk(seed=0)
            for frames in CONTRACT.chunk_lengths:
                part = chunk.condition[:frames], chunk.audio[:frames]
                faces = await client.faces(chunk.noise, *part, steps=2, guidance=1.0)
                assert faces.shape == (frames, RESOLUTION, RESOLUTION, 3) and not faces.any()
            assert await client.capacity() == Capacity(instances=3, batch=4, on_gpu=True)
            for model in ("unet", "vae_decoder"):
                question, _ = refused_inputs(chunk.noise.shape[-1])[model]
                with pytest.raises(InferenceServerException, match="a chunk of 1 frames, expected one of 4, 8, 16"):
                    await infer(connected, model, {name: values[0] for name, values in question.items()})
            window = np.zeros(480_000, np.float32)
            assert (await client.features(window)).any(), "the other models are the exported ones"
            at_once = await infer(connected, "lipsync", chunk.arrays())
            assert at_once.shape == (16, RESOLUTION, RESOLUTION, 3) and not at_once.any()
    finally:
        await emulated.aclose()


async def test_whisper_is_emulated_where_its_time_is_given(
    triton_server: TritonServer, options_for: Callable[..., TritonOptions], tmp_path: Path
) -> None:
    exported = triton_server.options.model_repository
    emulation = Emulation(1, "a record", replace(QUICK, whisper_ms=1.0), unet_batch=4)
    emulated = await TritonServer.start(options_for(write_emulated(exported, tmp_path / "emulated", emulation)))
    try:
        async with TritonClient(TritonSettings(url=f"127.0.0.1:{emulated.options.grpc_port}")) as client:
            window = np.ones(2 * CONTRACT.sample_rate_hz, np.float32)
            features = await client.features(window)
            assert features.shape == CONTRACT.features_shape(len(window)) and not features.any()
            assert await client.capacity() == Capacity(instances=1, batch=4, on_gpu=True)
    finally:
        await emulated.aclose()


async def test_batches_that_were_not_measured_are_refused(triton_server: TritonServer, tmp_path: Path) -> None:
    exported = triton_server.options.model_repository
    with pytest.raises(SettingsError, match=r"batches of 4, and a record has none above 2: export with --unet-batch 2"):
        write_emulated(exported, tmp_path / "emulated", Emulation(1, "a record", GpuTimes((1.0, 2.0), 1.0, steps=20)))
