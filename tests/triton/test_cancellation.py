"""Work that nobody waits for any more stops between two denoising steps."""

import asyncio
import contextlib
from typing import Any

import pytest
from numpy.testing import assert_allclose
from tritonclient.grpc.aio import InferenceServerClient

from tests.support.chunks import infer, random_chunk
from tests.support.counts import settled_counters

pytestmark = pytest.mark.asyncio(loop_scope="session")

MANY_STEPS = 900  # would keep the model busy for so long that a request behind it could not be answered in time


async def cancel(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def seconds_for(client: InferenceServerClient, steps: int) -> float:
    clock = asyncio.get_running_loop()
    started = clock.time()
    await infer(client, "unet", random_chunk(0, steps=steps).arrays())
    return clock.time() - started


async def test_a_cancelled_request_frees_the_model_long_before_its_last_step(client: InferenceServerClient) -> None:
    whole_s = await seconds_for(client, MANY_STEPS // 30) * 30
    running = asyncio.create_task(infer(client, "unet", random_chunk(1, steps=MANY_STEPS).arrays()))
    await asyncio.sleep(0.5)

    await cancel(running)

    await asyncio.wait_for(infer(client, "unet", random_chunk(2).arrays()), whole_s / 3)


async def test_cancelling_one_request_of_a_batch_leaves_the_others_their_answer(client: InferenceServerClient) -> None:
    kept, dropped = random_chunk(3, steps=40), random_chunk(4, steps=40)
    expected = await infer(client, "unet", kept.arrays())
    blocker = asyncio.create_task(infer(client, "unet", random_chunk(0, steps=20).arrays()))
    await asyncio.sleep(0.1)
    answers = [asyncio.create_task(infer(client, "unet", chunk.arrays())) for chunk in (kept, dropped)]
    await blocker

    await cancel(answers[1])

    assert_allclose(await answers[0], expected, rtol=5e-3, atol=5e-3)


async def test_a_cancelled_ensemble_request_is_not_decoded(client: InferenceServerClient) -> None:
    # Triton tells an ensemble's models nothing of a cancellation: it looks between the steps of the ensemble only.
    before = (await settled_counters(client))["vae_decoder"].requests
    running = asyncio.create_task(infer(client, "lipsync", random_chunk(7, steps=60).arrays()))
    await asyncio.sleep(0.2)

    await cancel(running)

    await infer(client, "lipsync", random_chunk(8).arrays())
    assert (await settled_counters(client))["vae_decoder"].requests == before + 1


async def test_requests_that_are_cancelled_while_they_queue_are_never_run(client: InferenceServerClient) -> None:
    blocker = asyncio.create_task(infer(client, "unet", random_chunk(0, steps=60).arrays()))
    await asyncio.sleep(0.1)
    queued = [asyncio.create_task(infer(client, "unet", random_chunk(5, steps=MANY_STEPS).arrays())) for _ in range(3)]
    await asyncio.sleep(0.1)

    for task in queued:
        await cancel(task)

    whole_s = await seconds_for(client, MANY_STEPS // 30) * 30
    await blocker
    await asyncio.wait_for(infer(client, "unet", random_chunk(6).arrays()), whole_s / 3)
