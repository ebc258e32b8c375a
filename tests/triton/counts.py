"""What Triton has counted of its models' work."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tritonclient.grpc.aio import InferenceServerClient

Counts = TypeVar("Counts")

_STILL_S = 0.3


async def settled(read: Callable[[], Awaitable[Counts]]) -> Counts:
    """What `read` gives once it holds still: Triton counts a request after it has answered it."""
    last = await read()
    while True:
        await asyncio.sleep(_STILL_S)
        if (now := await read()) == last:
            return now
        last = now


async def answered(client: InferenceServerClient) -> dict[str, int]:
    """How many requests each model has answered, failures left out."""

    async def read() -> dict[str, int]:
        statistics = await client.get_inference_statistics()
        return {model.name: int(model.inference_stats.success.count) for model in statistics.model_stats}

    return await settled(read)


async def batches(client: InferenceServerClient, model: str) -> dict[int, int]:
    """How often a model ran, by batch size."""

    async def read() -> dict[int, int]:
        (statistics,) = (await client.get_inference_statistics(model)).model_stats
        return {int(batch.batch_size): int(batch.compute_infer.count) for batch in statistics.batch_stats}

    return await settled(read)
