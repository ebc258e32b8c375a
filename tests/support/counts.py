"""What Triton has counted of its models' work."""

import asyncio

from tritonclient.grpc.aio import InferenceServerClient

from bench.gpu.counters import ModelCounters, read_counters

_STILL_S = 0.3


async def settled_counters(client: InferenceServerClient) -> dict[str, ModelCounters]:
    """The counters once they hold still: Triton counts a request after it has answered it."""
    last = await read_counters(client)
    while True:
        await asyncio.sleep(_STILL_S)
        if (now := await read_counters(client)) == last:
            return now
        last = now
