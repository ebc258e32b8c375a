"""How much GPU memory each model holds at most."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from bench.gpu.chunks import ENSEMBLE
from bench.gpu.gpu_watch import GpuWatch
from bench.gpu.processes import triton_processes

_SETTLE_S = 1.5
_BY_PROCESS = "the most that the driver counted for the model's processes during the run"
_BY_UNLOADING = (
    "what came free as the model was unloaded at the end: PyTorch keeps what it once took, so this is its peak"
)


@dataclass(frozen=True)
class GpuMemory:
    """MiB on all GPUs: of each model by `method`, and the most that was in use at once, of whatever process."""

    method: str
    models_mib: dict[str, int]
    peak_mib: dict[str, int]


async def measure_gpu_memory(server_pid: int, client: Any, models: list[str], watch: GpuWatch) -> GpuMemory | None:
    """None without a GPU. Where the driver hides processes, as in containers, it unloads the models one by one.

    `client` is tritonclient's for asyncio; raises InferenceServerException.
    """
    if not watch.gpus:
        return None
    by_model: dict[str, int] = defaultdict(int)
    for role, pid in triton_processes(server_pid):
        if pid in watch.peak_process_mib:
            by_model[role] += watch.peak_process_mib[pid]
    if set(models) <= set(by_model):
        return GpuMemory(_BY_PROCESS, dict(by_model), dict(watch.peak_mib))
    peak = dict(watch.peak_mib)
    return GpuMemory(_BY_UNLOADING, await _by_unloading(client, models, watch), peak)


async def _by_unloading(client: Any, models: list[str], watch: GpuWatch) -> dict[str, int]:
    await client.unload_model(ENSEMBLE)
    held, used = {}, await asyncio.to_thread(watch.memory_mib)
    for model in models:
        await client.unload_model(model)
        left = await _settled_mib(watch)
        held[model], used = used - left, left
    return held


async def _settled_mib(watch: GpuWatch) -> int:
    """Memory in use once it stays the same: a model's process ends after Triton has said that it is unloaded."""
    before = -1
    while (now := await asyncio.to_thread(watch.memory_mib)) != before:
        before = now
        await asyncio.sleep(_SETTLE_S)
    return now
