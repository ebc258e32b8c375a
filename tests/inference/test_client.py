"""Typed calls against a real tritonserver, through shared memory and through gRPC."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from inference.attempts import attempt
from inference.capacity import Capacity
from inference.client import FaceModel, TritonClient
from inference.errors import InferenceFailed, TritonUnavailable
from inference.launcher import TritonOptions, TritonServer
from inference.retry import RetryPolicy
from inference.transport import TritonSettings
from latentsync.contract import CONTRACT, POSITIONS_PARAMETER
from latentsync.whisper import PADDING
from tests.support.chunks import infer, infer_inputs
from tests.support.client_chunk import chunk
from tests.support.model_processes import model_processes
from tests.support.tiny_checkpoint import LATENT_SIZE, RESOLUTION

pytestmark = pytest.mark.asyncio(loop_scope="session")

OURS = f"latentsync-{os.getpid()}-"


def regions() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob(f"{OURS}*")}


def settings(server: TritonServer, **others: object) -> TritonSettings:
    return TritonSettings(f"127.0.0.1:{server.options.grpc_port}", **others)  # type: ignore[arg-type]


@pytest.mark.parametrize("shared_memory", [True, False])
async def test_every_model_answers_with_its_type_and_shape(triton_server: TritonServer, shared_memory: bool) -> None:
    async with TritonClient(settings(triton_server, shared_memory=shared_memory)) as client:
        assert await client.is_ready()
        assert await client.face_models() == {"tiny": FaceModel(RESOLUTION, LATENT_SIZE)}
        for seconds in (1, 30):
            features = await client.features(np.zeros(seconds * 16_000, np.float32))
            assert (features.dtype, features.shape) == (np.dtype(np.float16), (50 * seconds, 5, 384))
        for frames in CONTRACT.chunk_lengths:
            faces = await client.faces(*chunk(0, frames), steps=2, guidance=1.0)
            assert (faces.dtype, faces.shape) == (np.dtype(np.uint8), (frames, RESOLUTION, RESOLUTION, 3))
        assert await client.capacity() == Capacity(instances=1, batch=4)
        pixels = np.zeros((await client.encoder_batch(), 3, RESOLUTION, RESOLUTION), np.float16)
        latents = await client.encode(pixels)
        assert (latents.dtype, latents.shape) == (np.dtype(np.float16), (len(pixels), 4, LATENT_SIZE, LATENT_SIZE))
        assert bool(regions()) == shared_memory
    assert regions() == set()


async def test_features_of_the_padding_are_not_sent(triton_server: TritonServer) -> None:
    window = np.full(2 * 16_000, PADDING, np.float32)
    window[:16_001] = np.random.default_rng(1).normal(0, 0.1, 16_001)
    async with (
        TritonClient(settings(triton_server)) as client,
        InferenceServerClient(f"127.0.0.1:{triton_server.options.grpc_port}") as plain,
    ):
        features = await client.features(window)
        assert features.shape == (51, 5, 384), "a position lasts 320 samples, the last one is begun"
        np.testing.assert_array_equal(features, (await infer(plain, "whisper", {"PCM": window}))[:51])
        for wish in ("0", "101", "many", "-1"):
            with pytest.raises(InferenceServerException, match="expected 1 to 100 for this window"):
                await plain.infer("whisper", infer_inputs({"PCM": window}), parameters={POSITIONS_PARAMETER: wish})


async def test_shared_memory_and_grpc_give_the_same_faces(triton_server: TritonServer) -> None:
    async with (
        TritonClient(settings(triton_server)) as memory,
        TritonClient(settings(triton_server, shared_memory=False)) as grpc,
    ):
        for seed, frames in enumerate(CONTRACT.chunk_lengths):
            through_memory = await memory.faces(*chunk(seed, frames), steps=2, guidance=1.5)
            through_grpc = await grpc.faces(*chunk(seed, frames), steps=2, guidance=1.5)
            np.testing.assert_array_equal(through_memory, through_grpc)


async def test_concurrent_requests_never_share_a_region(triton_server: TritonServer) -> None:
    async with TritonClient(settings(triton_server, max_in_flight=4)) as client:
        alone = [await client.faces(*chunk(seed), steps=1, guidance=1.0) for seed in range(4)]
        assert len(regions()) == 2, "one after another, the UNet and the decoder need one region each"
        for _ in range(2):
            together = await asyncio.gather(*(client.faces(*chunk(i % 4), steps=1, guidance=1.0) for i in range(8)))
            for index, faces in enumerate(together):
                # Batched and alone differ by rounding only; another chunk's faces differ everywhere.
                assert np.abs(faces.astype(int) - alone[index % 4]).max() <= 2
        assert len(regions()) <= 8


async def test_cancelled_request_gives_its_region_up(triton_server: TritonServer) -> None:
    async with TritonClient(settings(triton_server)) as client:
        at_first = (await client.statistics())["unet"].compute_s
        await client.faces(*chunk(0), steps=20, guidance=1.0)
        before_s = (await client.statistics())["unet"].compute_s
        before = regions()
        pool = client._transport._pool
        assert pool is not None
        task = asyncio.create_task(client.faces(*chunk(0), steps=500, guidance=1.0))
        while sum(map(len, pool._free.values())) == len(before):  # none is lent
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # the request is on its way
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(before - regions()) == 1, "Triton may still write there"
        await client.faces(*chunk(0), steps=1, guidance=1.0)
        spent_s = (await client.statistics())["unet"].compute_s - before_s
        assert spent_s < (before_s - at_first) * 500 / 20 / 2, "Triton finished a request that nobody waits for"
    assert regions() == set()
    async with TritonClient(settings(triton_server)) as client:
        assert await client.is_ready(), "unregistering a region in use must not harm Triton"
        await client.faces(*chunk(0), steps=1, guidance=1.0)


async def test_wrong_tensor_is_named_before_anything_is_sent(triton_server: TritonServer) -> None:
    noise, condition, audio = chunk(0)
    async with TritonClient(settings(triton_server)) as client:
        with pytest.raises(ValueError, match="a chunk of 5 frames, expected one of 4, 8, 16"):
            await client.faces(noise, condition[:5], audio[:5], steps=1, guidance=1.0)
        with pytest.raises(ValueError, match=r"AUDIO must be float16 \[8, 50, 384\], got float16 \[16,"):
            await client.faces(noise, condition[:8], audio, steps=1, guidance=1.0)
        with pytest.raises(ValueError, match=r"PCM must be float32 \[32000\], got float32 \[2, 16000\]"):
            await client.features(np.zeros((2, 16_000), np.float32))
        with pytest.raises(ValueError, match="a window of 24000 samples, expected a whole number of seconds"):
            await client.features(np.zeros(24_000, np.float32))


async def test_refused_request_fails_with_tritons_reason_and_the_next_works(triton_server: TritonServer) -> None:
    async with TritonClient(settings(triton_server)) as client:
        with pytest.raises(InferenceFailed, match="steps must be"):
            await client.faces(*chunk(0), steps=0, guidance=1.0)
        await client.faces(*chunk(0), steps=1, guidance=1.0)


async def test_answer_that_takes_too_long_is_a_typed_error(triton_server: TritonServer) -> None:
    async with TritonClient(settings(triton_server, request_timeout_s=0.2)) as client:
        with pytest.raises(InferenceFailed, match="in time"):
            await client.faces(*chunk(0), steps=500, guidance=1.0)


async def test_no_triton_is_a_typed_error_after_the_retries() -> None:
    policy = RetryPolicy(attempts=2, first_delay_s=0.01)
    async with TritonClient(TritonSettings("127.0.0.1:19599", retry=policy)) as client:
        assert not await client.is_ready()
        with pytest.raises(TritonUnavailable, match="Check that tritonserver runs"):
            await client.features(np.zeros(480_000, np.float32))


async def known_regions(direct: InferenceServerClient) -> set[str]:
    """Those of this process that Triton has mapped."""
    status = await direct.get_system_shared_memory_status()
    return {name for name in status.regions if name.startswith(OURS)}


async def forget_all_regions(direct: InferenceServerClient) -> None:
    """As a restart of Triton would; Triton refuses while a request that it has answered still holds one."""
    while await known_regions(direct):
        with contextlib.suppress(InferenceServerException):
            await direct.unregister_system_shared_memory()


async def test_triton_keeps_no_region_of_a_client_that_closed(triton_server: TritonServer) -> None:
    async with InferenceServerClient(f"127.0.0.1:{triton_server.options.grpc_port}") as direct:
        async with TritonClient(settings(triton_server)) as client:
            given_up = [asyncio.create_task(client.faces(*chunk(i), steps=500, guidance=1.0)) for i in range(4)]
            while len(ours := await known_regions(direct)) < 4:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.2)  # the requests that use them are on their way
            for task in given_up:
                task.cancel()
            await asyncio.wait(given_up)
        assert not ours & await known_regions(direct)


async def test_region_that_triton_has_forgotten_is_registered_anew(triton_server: TritonServer) -> None:
    async with TritonClient(settings(triton_server)) as client:
        expected = await client.faces(*chunk(0), steps=2, guidance=1.0)
        before = regions()
        async with InferenceServerClient(f"127.0.0.1:{triton_server.options.grpc_port}") as direct:
            await forget_all_regions(direct)
        np.testing.assert_array_equal(await client.faces(*chunk(0), steps=2, guidance=1.0), expected)
        assert len(regions()) == 2
        assert not regions() & before


async def test_statistics_count_what_was_asked(triton_server: TritonServer) -> None:
    async with TritonClient(settings(triton_server)) as client:
        before = await client.statistics()
        await client.faces(*chunk(0), steps=1, guidance=1.0)
        # Triton counts a request after it has answered it.
        while (after := await client.statistics())["vae_decoder"].inferences == before["vae_decoder"].inferences:
            await asyncio.sleep(0.05)
        for name in ("unet", "vae_decoder"):
            assert after[name].inferences == before[name].inferences + 1
            assert after[name].compute_s > before[name].compute_s
        assert (await client.server_version()).startswith("triton ")


async def test_a_killed_model_process_is_loaded_again_and_the_chunk_is_made(
    exported: Callable[..., Path], options_for: Callable[..., TritonOptions], tmp_path: Path
) -> None:
    exported(tmp_path / "models")
    server = await TritonServer.start(options_for(tmp_path / "models", exit_timeout_s=5))
    patience = RetryPolicy(attempts=2, first_delay_s=0.05)
    try:
        async with TritonClient(settings(server, retry=patience)) as client:
            (stub,) = model_processes(server.options, "unet")
            os.kill(stub, signal.SIGKILL)
            with pytest.raises(TritonUnavailable, match="not healthy") as caught:
                await client.faces(*chunk(0), steps=1, guidance=1.0)
            faces = await attempt(lambda: client.faces(*chunk(0), steps=1, guidance=1.0), "chunk 0", 2, client.recover)
            assert faces.shape == (16, RESOLUTION, RESOLUTION, 3)
            assert not await client.recover(caught.value), "once a minute is enough"
    finally:
        await server.aclose()
