"""Requests share a batch when they can, and never spoil each other's answers."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from latentsync.contract import CONTRACT
from tests.support.chunks import Chunk, infer, random_chunk
from tests.support.counts import settled_counters

pytestmark = pytest.mark.asyncio(loop_scope="session")

BLOCKER_STEPS = 30  # long enough for what is sent meanwhile to queue up behind it


async def queued_together(client: InferenceServerClient, chunks: Sequence[Chunk]) -> list[NDArray[Any]]:
    """Answers to requests that wait behind a longer one, so that they are ready to be batched."""
    blocker = asyncio.create_task(infer(client, "unet", random_chunk(0, steps=BLOCKER_STEPS).arrays()))
    await asyncio.sleep(0.1)
    answers = await asyncio.gather(*(infer(client, "unet", chunk.arrays()) for chunk in chunks))
    await blocker
    return answers


def tensor_of(answer: NDArray[Any] | BaseException) -> NDArray[Any]:
    if isinstance(answer, BaseException):
        raise answer
    return answer


@pytest.mark.parametrize("frames", CONTRACT.chunk_lengths)
async def test_concurrent_chunks_are_denoised_in_one_batch(client: InferenceServerClient, frames: int) -> None:
    before = (await settled_counters(client))["unet"].batches

    await queued_together(client, [random_chunk(seed, frames=frames) for seed in range(4)])

    after = (await settled_counters(client))["unet"].batches
    assert sum(size * (count - before.get(size, 0)) for size, count in after.items()) == 5
    assert sum(after.values()) - sum(before.values()) < 5


@pytest.mark.parametrize("frames", CONTRACT.chunk_lengths)
async def test_a_batch_answers_each_chunk_as_if_it_were_alone(client: InferenceServerClient, frames: int) -> None:
    chunks = [random_chunk(seed, frames=frames) for seed in range(4)]
    alone = [await infer(client, "unet", chunk.arrays()) for chunk in chunks]

    together = await queued_together(client, chunks)

    assert_allclose(together, alone, rtol=5e-3, atol=5e-3)


async def test_chunks_of_all_lengths_at_once_are_answered_as_if_each_were_alone(client: InferenceServerClient) -> None:
    chunks = [random_chunk(seed, frames=frames) for seed in range(3) for frames in (*CONTRACT.chunk_lengths, 4)]
    alone = [await infer(client, "unet", chunk.arrays()) for chunk in chunks]

    together = await queued_together(client, chunks)

    for answer, expected in zip(together, alone, strict=True):
        assert_allclose(answer, expected, rtol=5e-3, atol=5e-3)


async def test_windows_of_each_length_are_batched_among_themselves(client: InferenceServerClient) -> None:
    generator = np.random.default_rng(0)
    windows = [generator.uniform(-0.3, 0.3, s * 16_000).astype(np.float32) for s in (30, 1, 1, 1, 2, 2, 1)]
    alone = [await infer(client, "whisper", {"PCM": window}) for window in windows]
    before = (await settled_counters(client))["whisper"].batches

    blocker = asyncio.create_task(infer(client, "whisper", {"PCM": windows[0]}))
    await asyncio.sleep(0.05)
    together = await asyncio.gather(*(infer(client, "whisper", {"PCM": window}) for window in windows[1:]))
    await blocker

    after = (await settled_counters(client))["whisper"].batches
    assert sum(size * (count - before.get(size, 0)) for size, count in after.items()) == len(windows)
    assert sum(after.values()) - sum(before.values()) < len(windows)
    for answer, expected in zip(together, alone[1:], strict=True):
        assert_allclose(answer, expected, rtol=5e-3, atol=5e-3)


async def test_chunks_with_other_steps_or_guidance_in_a_batch_are_kept_apart(client: InferenceServerClient) -> None:
    base = random_chunk(seed=5)
    chunks = [base.with_settings(1), base.with_settings(4), base.with_settings(1, guidance=2.5), base.with_settings(1)]
    alone = [await infer(client, "unet", chunk.arrays()) for chunk in chunks]
    assert np.abs(alone[0] - alone[1]).max() > 0.05
    assert np.abs(alone[0] - alone[2]).max() > 0.05
    before = (await settled_counters(client))["unet"].batches

    together = await queued_together(client, chunks)

    assert (await settled_counters(client))["unet"].batches.get(4, 0) == before.get(4, 0) + 1
    assert_allclose(together, alone, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AUDIO": np.full((16, 50, 384), np.nan, np.float16)}, "AUDIO has 307200 of 307200 values that are NaN"),
        ({"GUIDANCE": np.array([np.inf], np.float32)}, "GUIDANCE has 1 of 1 values that are NaN or infinite"),
        ({"GUIDANCE": np.array([-1], np.float32)}, "GUIDANCE is -1, expected 0 or more"),
        ({"STEPS": np.array([0], np.int32)}, "must be 1 to 1000, not 0"),
        ({"STEPS": np.array([1000], np.int32)}, "STEPS is 1000, too many"),
        ({"AUDIO": np.zeros((1, 50, 384), np.float16)}, "AUDIO is a chunk of 1 frames, expected one of 4, 8, 16"),
        ({"CONDITION": np.zeros((17, 9, 8, 8), np.float16)}, "CONDITION is a chunk of 17 frames, expected one of 4, 8"),
        ({"AUDIO": np.zeros((8, 50, 384), np.float16)}, "AUDIO has 8 frames, expected as many as CONDITION, 16"),
    ],
)
async def test_a_bad_tensor_fails_its_own_request_only(
    client: InferenceServerClient, change: dict[str, NDArray[Any]], message: str
) -> None:
    good = random_chunk(seed=6)
    expected = await infer(client, "unet", good.arrays())
    blocker = asyncio.create_task(infer(client, "unet", random_chunk(0, steps=BLOCKER_STEPS).arrays()))
    await asyncio.sleep(0.1)

    answers = await asyncio.gather(
        infer(client, "unet", good.arrays()),
        infer(client, "unet", good.arrays() | change),
        infer(client, "unet", good.arrays()),
        return_exceptions=True,
    )

    await blocker
    first, bad, second = answers
    assert isinstance(bad, InferenceServerException)
    assert bad.status() == "StatusCode.INVALID_ARGUMENT"
    assert message in bad.message()
    assert_allclose([tensor_of(first), tensor_of(second)], [expected, expected], rtol=5e-3, atol=5e-3)


async def test_a_tensor_of_another_shape_is_refused_with_both_shapes(client: InferenceServerClient) -> None:
    chunk = random_chunk(seed=7).arrays()
    chunk["NOISE"] = np.zeros((4, 7, 7), np.float32)

    with pytest.raises(InferenceServerException, match=r"Expected \[-1,4,8,8\], got \[1,4,7,7\]") as refused:
        await infer(client, "unet", chunk)

    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("model", "name", "good", "bad", "message"),
    [
        ("whisper", "PCM", np.zeros(480_000, np.float32), np.full(480_000, np.inf, np.float32), "infinite"),
        ("whisper", "PCM", np.zeros(480_000, np.float32), np.r_[np.nan, np.zeros(479_999)].astype("f4"), "NaN"),
        ("vae_encoder", "PIXELS", np.zeros((3, 64, 64), "f2"), np.full((3, 64, 64), np.nan, "f2"), "NaN"),
        ("vae_decoder", "LATENTS", np.zeros((16, 4, 8, 8), "f2"), np.full((16, 4, 8, 8), np.inf, "f2"), "NaN"),
        ("whisper", "PCM", np.zeros(480_000, np.float32), np.zeros(1, np.float32), "a window of 1 samples, expected"),
        ("whisper", "PCM", np.zeros(480_000, np.float32), np.zeros(40_000, np.float32), "whole number of seconds"),
        ("whisper", "PCM", np.zeros(480_000, np.float32), np.zeros(496_000, np.float32), "from 1 to 30, of 16000"),
        (
            "vae_decoder",
            "LATENTS",
            np.zeros((16, 4, 8, 8), "f2"),
            np.zeros((1, 4, 8, 8), "f2"),
            "a chunk of 1 frames, expected one of 4, 8, 16",
        ),
    ],
)
async def test_the_other_models_name_what_is_wrong_and_serve_on(
    client: InferenceServerClient, model: str, name: str, good: NDArray[Any], bad: NDArray[Any], message: str
) -> None:
    answers = await asyncio.gather(
        infer(client, model, {name: good}),
        infer(client, model, {name: bad}),
        infer(client, model, {name: good}),
        return_exceptions=True,
    )

    assert isinstance(answers[1], InferenceServerException)
    assert answers[1].status() == "StatusCode.INVALID_ARGUMENT"
    assert name in answers[1].message()
    assert message in answers[1].message()
    np.testing.assert_array_equal(tensor_of(answers[0]), tensor_of(answers[2]))
