"""One real tritonserver for all tests here, and a client of it."""

from collections.abc import AsyncIterator

import pytest_asyncio
from tritonclient.grpc.aio import InferenceServerClient

from inference.launcher import TritonServer
from tests.support.triton_server import checkpoint, options_for
from tests.support.triton_server import triton_server as server

__all__ = ["checkpoint", "options_for", "server"]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(server: TritonServer) -> AsyncIterator[InferenceServerClient]:
    async with InferenceServerClient(f"127.0.0.1:{server.options.grpc_port}") as connected:
        yield connected
