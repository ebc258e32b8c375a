"""The models alone, by so many clients at once: `lipsync`, and its two models by one client each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.gpu.chunks import DECODER, ENSEMBLE, UNET, ChunkSet
from bench.gpu.counters import ModelTimes, inferences_by_gpu, read_counters, times_between
from bench.gpu.gpu_watch import GpuWatch
from bench.gpu.load import Answers, Send, closed_loop
from bench.gpu.plan import GpuPlan
from bench.gpu.processes import CpuMeter, triton_processes
from inference.client import CHUNK_FRAMES
from inference.launcher import TritonServer
from inference.transport import TensorTransport, TritonSettings, connect


@dataclass(frozen=True)
class LoadPoint:
    """One model under one load. Times of a request in ms, as its client saw them; `models` are Triton's own counters.

    `gpu_shares` is each GPU's share of the UNet's chunks and `gpu_utilization` the percentage of time in which it ran
    a kernel, both by UUID, None where they are unknown. `cores` is processor seconds a second of tritonserver and of
    each model's processes.
    """

    model: str
    clients: int
    seconds: float
    chunks: int
    frames_per_s: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    average_batch: float | None
    models: dict[str, ModelTimes]
    gpu_shares: dict[str, float] | None
    gpu_utilization: dict[str, float] | None
    cores: dict[str, float]


class ModelBench:
    """Loads the models of a running tritonserver."""

    def __init__(self, server: TritonServer, client: Any, transport: TensorTransport, gpus: GpuWatch) -> None:
        self._server = server
        self._client = client
        self._transport = transport
        self._gpus = gpus

    async def ensemble(self, chunks: ChunkSet, plan: GpuPlan, clients: int) -> LoadPoint:
        """`lipsync` by so many clients; raises TritonUnavailable, InferenceFailed."""
        sent = [chunk.inputs(plan.steps, plan.guidance) for chunk in chunks.chunks]

        async def send(number: int) -> object:
            return await self._transport.infer(ENSEMBLE, sent[number % len(sent)], chunks.faces())

        return await self._measure(ENSEMBLE, send, plan, clients)

    async def alone(self, model: str, chunks: ChunkSet, plan: GpuPlan) -> LoadPoint:
        """`unet` or `vae_decoder` by one client; the decoder gets latents that the UNet made."""
        sent = [chunk.inputs(plan.steps, plan.guidance) for chunk in chunks.chunks]
        output = chunks.latents()
        if model == DECODER:
            latents = [await self._transport.infer(UNET, inputs, output) for inputs in sent[:2]]
            # Drawn weights may make what is no number, which the decoder refuses.
            sent, output = [{"LATENTS": np.nan_to_num(values)} for values in latents], chunks.faces()

        async def send(number: int) -> object:
            return await self._transport.infer(model, sent[number % len(sent)], output)

        return await self._measure(model, send, plan, clients=1)

    async def _measure(self, model: str, send: Send, plan: GpuPlan, clients: int) -> LoadPoint:
        window = _Window(self._server, self._client, self._gpus, DECODER if model == DECODER else UNET)
        answers = await closed_loop(send, clients, plan.warm_up_s, plan.seconds, window.open, window.close)
        return window.point(model, clients, answers)


class _Window:
    """The server's own counters as the measured time begins and ends."""

    def __init__(self, server: TritonServer, client: Any, gpus: GpuWatch, counted: str) -> None:
        self._server = server
        self._client = client
        self._gpus = gpus
        self._counted = counted
        self.models: dict[str, ModelTimes] = {}
        self._shares: dict[str, float] | None = None

    async def open(self) -> None:
        self._counters = await read_counters(self._client)
        self._by_gpu = self._inferences()
        self._gpus.forget_load()
        self._cpu = CpuMeter(lambda: triton_processes(self._server.pid))

    async def close(self) -> None:
        self.cores = self._cpu.cores()
        self.models = times_between(self._counters, await read_counters(self._client))
        late = self._inferences()
        made = {uuid: count - self._by_gpu.get(uuid, 0) for uuid, count in late.items()}
        total = sum(made.values())
        self._shares = {uuid: round(count / total, 3) for uuid, count in made.items()} if total else None

    def point(self, model: str, clients: int, answers: Answers) -> LoadPoint:
        counted = self.models.get(self._counted)
        return LoadPoint(
            model=model,
            clients=clients,
            seconds=round(answers.seconds, 2),
            chunks=answers.count,
            frames_per_s=round(CHUNK_FRAMES * answers.per_s, 2),
            p50_ms=answers.percentile_ms(50),
            p95_ms=answers.percentile_ms(95),
            p99_ms=answers.percentile_ms(99),
            average_batch=counted.average_batch if counted else None,
            models=self.models,
            gpu_shares=self._shares,
            gpu_utilization=self._gpus.utilization(),
            cores=self.cores,
        )

    def _inferences(self) -> dict[str, int]:
        options = self._server.options
        return inferences_by_gpu(options.host, options.metrics_port, self._counted)


@asynccontextmanager
async def model_bench(server: TritonServer, gpus: GpuWatch, most_clients: int) -> AsyncIterator[ModelBench]:
    """A bench on the server's own host, with shared memory as the product uses it."""
    url = f"{server.options.host}:{server.options.grpc_port}"
    settings = TritonSettings(url=url, max_in_flight=most_clients, secret=server.options.secret)
    client = connect(settings)
    transport = TensorTransport(client, settings)
    try:
        yield ModelBench(server, client, transport, gpus)
    finally:
        await transport.aclose()
        await client.close()


async def bench_models(bench: ModelBench, chunks: ChunkSet, plan: GpuPlan, found: Callable[[LoadPoint], None]) -> None:
    """All loads of the plan, each passed to `found` as it is measured; raises what the requests raise."""
    for clients in plan.clients:
        found(await bench.ensemble(chunks, plan, clients))
    for model in (UNET, DECODER):
        found(await bench.alone(model, chunks, plan))
