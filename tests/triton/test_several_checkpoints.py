"""Several checkpoints behind one tritonserver: each request is answered by the networks that it names."""

import asyncio
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
import pytest_asyncio
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient

from export.repository import export_repository
from inference.client import FaceModel, TritonClient
from inference.errors import InferenceFailed
from inference.launcher import TritonOptions, TritonServer
from inference.transport import TritonSettings
from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from latentsync.vae import pixels_to_uint8
from tests.support.chunks import Chunk, denoised, infer, random_chunk
from tests.support.counts import settled_counters
from tests.support.tiny_checkpoint import RESOLUTION, write_tiny_checkpoint

pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGER = 96


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """Three: one of the main one's size, whose requests could share its batches, and one that is larger."""
    parent = tmp_path_factory.mktemp("checkpoints")
    sizes = {"tiny": RESOLUTION, "twin": RESOLUTION, "larger": LARGER}
    return {
        name: Checkpoint.open(write_tiny_checkpoint(parent, name=name, resolution=side, seed=seed))
        for seed, (name, side) in enumerate(sizes.items())
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    checkpoints: dict[str, Checkpoint],
    options_for: Callable[..., TritonOptions],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[TritonServer]:
    repository = tmp_path_factory.mktemp("repository") / "models"
    main, *further = (checkpoint.directory for checkpoint in checkpoints.values())
    options = {"device": "cpu", "dtype": "fp32", "cpu_threads": 1, "unet_batch": 4}
    export_repository(main, repository, further=further, **options)  # type: ignore[arg-type]
    running = await TritonServer.start(options_for(repository, exit_timeout_s=5))
    yield running
    await running.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: TritonServer) -> AsyncIterator[TritonClient]:
    async with TritonClient(TritonSettings(f"127.0.0.1:{server.options.grpc_port}")) as client:
        yield client


def drawn(checkpoint: Checkpoint, chunk: Chunk) -> NDArray[np.int64]:
    with torch.inference_mode():
        faces = pixels_to_uint8(checkpoint.load_vae().decode(denoised(checkpoint, chunk).half()))
    return faces.numpy().astype(int)


async def faces_of(client: TritonClient, checkpoint: str | None, chunk: Chunk) -> NDArray[np.int64]:
    models = client.drawing_with(checkpoint)
    faces = await models.faces(chunk.noise, chunk.condition, chunk.audio, chunk.steps, chunk.guidance)
    return faces.astype(int)


async def test_all_are_told_with_their_sizes_the_main_one_first(client: TritonClient) -> None:
    expected = {"tiny": FaceModel(64, 8), "twin": FaceModel(64, 8), "larger": FaceModel(96, 12)}
    assert list((await client.face_models()).items()) == list(expected.items())


async def test_each_draws_its_own_faces_and_the_main_one_those_of_requests_without_a_name(
    client: TritonClient, checkpoints: dict[str, Checkpoint]
) -> None:
    for name, checkpoint in checkpoints.items():
        for frames in CONTRACT.chunk_lengths:
            chunk = random_chunk(3, frames=frames, latent_size=checkpoint.latent_size)
            assert_allclose(await faces_of(client, name, chunk), drawn(checkpoint, chunk), atol=2)
    chunk = random_chunk(3)
    assert_allclose(await faces_of(client, None, chunk), drawn(checkpoints["tiny"], chunk), atol=2)
    assert np.abs(drawn(checkpoints["tiny"], chunk) - drawn(checkpoints["twin"], chunk)).max() > 20


async def test_each_encodes_pictures_of_its_own_size(client: TritonClient, checkpoints: dict[str, Checkpoint]) -> None:
    for name, checkpoint in checkpoints.items():
        side = checkpoint.resolution
        pixels = np.random.default_rng(1).uniform(-1, 1, (2, 3, side, side)).astype(np.float16)
        with torch.inference_mode():
            expected = checkpoint.load_vae().encode(torch.from_numpy(pixels))
        assert_allclose(await client.drawing_with(name).encode(pixels), expected, rtol=2e-3, atol=2e-3)


async def test_requests_of_several_in_one_batch_of_triton_are_kept_apart(
    client: TritonClient, server: TritonServer, checkpoints: dict[str, Checkpoint]
) -> None:
    chunk = random_chunk(4)
    expected = {name: drawn(checkpoints[name], chunk) for name in ("tiny", "twin")}
    async with InferenceServerClient(f"127.0.0.1:{server.options.grpc_port}") as counting:
        before = (await settled_counters(counting))["unet"].batches
        blocker = asyncio.create_task(infer(counting, "unet", random_chunk(0, steps=30).arrays()))
        await asyncio.sleep(0.1)
        names = ("tiny", "twin", "tiny", "twin")
        answers = await asyncio.gather(*(faces_of(client, name, chunk) for name in names))
        await blocker
        after = (await settled_counters(counting))["unet"].batches
    assert any(size > 1 and count > before.get(size, 0) for size, count in after.items()), "nothing was joined"
    for name, faces in zip(names, answers, strict=True):
        assert_allclose(faces, expected[name], atol=2)


async def test_one_that_is_not_served_fails_its_own_request_only(
    client: TritonClient, checkpoints: dict[str, Checkpoint]
) -> None:
    chunk = random_chunk(5)
    answers = await asyncio.gather(
        faces_of(client, "tiny", chunk),
        faces_of(client, "nobody", chunk),
        faces_of(client, "twin", chunk),
        return_exceptions=True,
    )
    assert isinstance(answers[1], InferenceFailed)
    assert "the checkpoint 'nobody' is not served, but tiny, twin, larger" in str(answers[1])
    for name, faces in (("tiny", answers[0]), ("twin", answers[2])):
        assert not isinstance(faces, BaseException)
        assert_allclose(faces, drawn(checkpoints[name], chunk), atol=2)


async def test_chunks_of_anothers_size_are_refused_with_both_sizes(client: TritonClient) -> None:
    with pytest.raises(InferenceFailed, match="NOISE is 12×12, expected 8×8 for this checkpoint"):
        await faces_of(client, "twin", random_chunk(6, latent_size=12))
    with pytest.raises(InferenceFailed, match="LATENTS is 8×8, expected 12×12 for this checkpoint"):
        await client.drawing_with("larger").decode(np.zeros((4, 4, 8, 8), np.float16))
    with pytest.raises(InferenceFailed, match="PIXELS is 64×64, expected 96×96 for this checkpoint"):
        await client.drawing_with("larger").encode(np.zeros((1, 3, 64, 64), np.float16))


async def test_the_watchdog_finds_all_models_alive(client: TritonClient) -> None:
    for server in (await client.each_server()).values():
        assert await server.probe_models(8) == dict.fromkeys(("whisper", "unet", "vae_decoder"))
