"""Transport of tensors to Triton and back: in shared memory on the same host, else in the gRPC message."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tritonclient.grpc.aio as grpcclient
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from inference import span
from inference.retry import RetryPolicy, is_lost_region, send
from inference.secret import SecretHeader
from inference.servers import TritonServers
from inference.shared_memory import Region, RegionPool
from inference.traffic import Traffic

_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Pings only while a call is in flight: otherwise Triton treats them as abuse and closes the connection.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 2),
    # gRPC's own back-off grows to two minutes; a restarted Triton must be found at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
_ALIGNMENT_BYTES = 64
_MOST_SERVERS = 16

Inputs = dict[str, NDArray[Any]]
Parameters = dict[str, str]


@dataclass(frozen=True)
class TritonSettings:
    """Triton's gRPC address, the time limit of a request, the requests in flight at a server, the retries, and how long
    to wait for a Triton that is unreachable.

    `secret` is what the servers demand with each call; None where they demand none.
    `url` may name several servers, see `TritonServers`; then shared memory is not used, since each server would have to
    register every region.
    """

    url: str = "127.0.0.1:8001"
    request_timeout_s: float = 120.0
    max_in_flight: int = 16
    shared_memory: bool = True
    outage_s: float = 120.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    secret: str | None = field(default=None, repr=False)

    @property
    def servers(self) -> TritonServers:
        """The servers that `url` names."""
        return TritonServers(self.url)


@dataclass(frozen=True)
class Output:
    """The output tensor to request, with the shape that it must have."""

    name: str
    shape: tuple[int, ...]
    dtype: type[np.generic]

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def connect(settings: TritonSettings) -> grpcclient.InferenceServerClient:
    """A gRPC client of Triton; nothing is sent yet."""
    servers = settings.servers
    options = [*_CHANNEL_OPTIONS, *servers.channel_options]
    client = grpcclient.InferenceServerClient(servers.target, channel_args=options)
    if settings.secret is not None:
        client.register_plugin(SecretHeader(settings.secret))
    return client


class TensorTransport:
    """Sends tensors to a model and returns its one output, retried by the settings' policy."""

    def __init__(self, client: grpcclient.InferenceServerClient, settings: TritonSettings) -> None:
        self._client = client
        self._settings = settings
        self._clients: dict[str, grpcclient.InferenceServerClient] = {}
        several = settings.servers.several
        shared = settings.shared_memory and not several
        self._pool = RegionPool(client, settle_s=settings.request_timeout_s) if shared else None
        self._in_flight = asyncio.Semaphore(settings.max_in_flight * (_MOST_SERVERS if several else 1))
        self.traffic = Traffic()

    async def infer(
        self, model: str, inputs: Inputs, output: Output, parameters: Parameters | None = None
    ) -> NDArray[Any]:
        """The model's output as an array of its own; raises `TritonUnavailable` or `InferenceFailed`.

        `parameters` are those of the request, which Triton hands to the model as they are.
        """
        size = output.nbytes + sum(_aligned(values.nbytes) for values in inputs.values())

        async def once() -> NDArray[Any]:
            region = await self._pool.lend(size) if self._pool is not None else None
            if self._pool is None or region is None:
                return await self._through_grpc(model, inputs, output, parameters)
            return await self._through_memory(self._pool, region, model, inputs, output, parameters)

        async with self._in_flight:
            return await send(once, model, self._settings.retry)

    async def aclose(self) -> None:
        """Free the shared memory, and close the connections made here."""
        for client in self._clients.values():
            await client.close()
        if self._pool is not None:
            await self._pool.aclose()

    async def _through_grpc(
        self, model: str, inputs: Inputs, output: Output, parameters: Parameters | None
    ) -> NDArray[Any]:
        tensors = [_described(name, values) for name, values in inputs.items()]
        for tensor, values in zip(tensors, inputs.values(), strict=True):
            tensor.set_data_from_numpy(values)
        answer = await self._call(model, tensors, grpcclient.InferRequestedOutput(output.name), parameters)
        _check_shape(model, answer, output)
        return np.asarray(answer.as_numpy(output.name))

    async def _through_memory(
        self,
        pool: RegionPool,
        region: Region,
        model: str,
        inputs: Inputs,
        output: Output,
        parameters: Parameters | None,
    ) -> NDArray[Any]:
        tensors, offset = [_described(name, values) for name, values in inputs.items()], 0
        for tensor, values in zip(tensors, inputs.values(), strict=True):
            region.write(offset, values)
            tensor.set_shared_memory(region.name, values.nbytes, offset)
            offset += _aligned(values.nbytes)
        wanted = grpcclient.InferRequestedOutput(output.name)
        wanted.set_shared_memory(region.name, output.nbytes, offset)
        try:
            answer = await self._call(model, tensors, wanted, parameters)
            _check_shape(model, answer, output)
        except BaseException as error:
            # Cancelled, timed out or failed: Triton may still use the region.
            pool.retire(region)
            if isinstance(error, InferenceServerException) and is_lost_region(error):
                pool.forget_free()
            raise
        result = region.read(offset, output.shape, output.dtype)
        pool.take_back(region)
        return result

    async def _call(self, model: str, tensors: list[Any], output: Any, parameters: Parameters | None) -> Any:
        with self.traffic.request(model), span.child(f"infer {model}", calls=True, model=model):
            return await self._client_of(model).infer(
                model,
                tensors,
                outputs=[output],
                client_timeout=self._settings.request_timeout_s,
                headers=dict(span.headers()),  # Triton's spans of the request become children of this one
                parameters=parameters,
            )

    def _client_of(self, model: str) -> grpcclient.InferenceServerClient:
        """With several servers each model has its own round robin.

        A speech alternates between denoising and decoding. In one common round robin, one of two servers would do
        all the denoising and the other all the decoding.
        """
        if not self._settings.servers.several:
            return self._client
        if model not in self._clients:
            self._clients[model] = connect(self._settings)
        return self._clients[model]


def _described(name: str, values: NDArray[Any]) -> Any:
    return grpcclient.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))


def _check_shape(model: str, answer: Any, output: Output) -> None:
    shape = tuple(answer.get_output(output.name).shape)
    if shape != output.shape:
        raise InferenceServerException(f"{model} gave {output.name} of shape {shape}, expected {output.shape}")


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
