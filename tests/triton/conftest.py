"""A client of the tritonserver that all tests share."""

from collections.abc import AsyncIterator

import pytest_asyncio
from tritonclient.grpc.aio import InferenceServerClient

from inference.launcher import TritonServer


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(triton_server: TritonServer) -> AsyncIterator[InferenceServerClient]:
    async with InferenceServerClient(f"127.0.0.1:{triton_server.options.grpc_port}") as connected:
        yield connected
