"""Each served model answers what latentsync computes when it is called directly."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from tritonclient.grpc.aio import InferenceServerClient

from inference.launcher import TritonServer
from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT, read_contract
from latentsync.vae import pixels_to_uint8
from latentsync.whisper import PADDING
from tests.support.chunks import denoised, infer, random_chunk
from tests.support.tiny_checkpoint import RESOLUTION

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_contract_beside_the_models_tells_their_shapes(
    triton_server: TritonServer, client: InferenceServerClient
) -> None:
    served = read_contract(triton_server.options.model_repository)
    contract, side, size = served.contract, served.resolution, served.latent_size
    latents, features = contract.latent_channels, (contract.hidden_states, contract.hidden_size)
    expected = {
        "whisper": {"PCM": [-1], "FEATURES": [-1, *features]},
        "vae_encoder": {"PIXELS": [3, side, side], "LATENTS": [latents, size, size]},
        "vae_decoder": {"LATENTS": [-1, latents, size, size], "FACES": [-1, side, side, 3]},
        "lipsync": {
            "NOISE": [latents, size, size],
            "CONDITION": [-1, contract.condition_channels, size, size],
            "AUDIO": [-1, *contract.audio_shape],
            "STEPS": [1],
            "GUIDANCE": [1],
            "FACES": [-1, side, side, 3],
        },
    }
    for model, shapes in expected.items():
        metadata = await client.get_model_metadata(model)
        assert {each.name: list(each.shape)[1:] for each in (*metadata.inputs, *metadata.outputs)} == shapes
    index = await client.get_model_repository_index()
    assert {model.name for model in index.models} == {*expected, "unet"}, "only folders are models"


@pytest.mark.parametrize("seconds", [4, 15, 30])
async def test_whisper_gives_the_features_of_a_window_that_ends_early(
    client: InferenceServerClient, checkpoint: Checkpoint, seconds: int
) -> None:
    window = np.full(seconds * CONTRACT.sample_rate_hz, PADDING)
    window[:50_000] = np.random.default_rng(0).uniform(-0.3, 0.3, 50_000)
    with torch.inference_mode():
        expected = checkpoint.load_whisper()(torch.from_numpy(window)[None])[0]

    features = await infer(client, "whisper", {"PCM": window})

    assert features.dtype == np.float16
    assert len(features) == 50 * seconds
    assert_allclose(features, expected, rtol=2e-3, atol=2e-3)


async def test_vae_encoder_gives_scaled_latents(client: InferenceServerClient, checkpoint: Checkpoint) -> None:
    pixels = np.random.default_rng(1).uniform(-1, 1, (3, RESOLUTION, RESOLUTION)).astype(np.float16)
    with torch.inference_mode():
        expected = checkpoint.load_vae().encode(torch.from_numpy(pixels)[None])[0]

    latents = await infer(client, "vae_encoder", {"PIXELS": pixels})

    assert_allclose(latents, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("frames", CONTRACT.chunk_lengths)
@pytest.mark.parametrize(("steps", "guidance"), [(1, 1.0), (3, 1.0), (2, 1.5)])
async def test_unet_gives_the_latents_of_a_chunk(
    client: InferenceServerClient, checkpoint: Checkpoint, steps: int, guidance: float, frames: int
) -> None:
    chunk = random_chunk(seed=2, steps=steps, guidance=guidance, frames=frames)

    latents = await infer(client, "unet", chunk.arrays())

    assert_allclose(latents, denoised(checkpoint, chunk), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("frames", CONTRACT.chunk_lengths)
async def test_lipsync_gives_the_faces_of_a_chunk(
    client: InferenceServerClient, checkpoint: Checkpoint, frames: int
) -> None:
    chunk = random_chunk(seed=3, frames=frames)
    with torch.inference_mode():
        expected = pixels_to_uint8(checkpoint.load_vae().decode(denoised(checkpoint, chunk).half()))

    faces = await infer(client, "lipsync", chunk.arrays())

    assert faces.shape == (frames, RESOLUTION, RESOLUTION, 3)
    assert faces.std() > 1  # not one flat colour, which would match anything
    assert_allclose(faces.astype(int), expected.int(), atol=2)
