"""Triton's own counters between two moments."""

from __future__ import annotations

import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from inference.retry import RetryPolicy, send

_METRICS_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class ModelCounters:
    """What a model has done since it was loaded; times in nanoseconds, all but the queue's summed over batches."""

    requests: int = 0
    inferences: int = 0
    executions: int = 0
    queue_ns: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0
    batches: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelTimes:
    """A model between two moments: means in ms, the queue a request, the rest a batch; batches by their size."""

    inferences: int
    executions: int
    average_batch: float | None
    queue_ms: float | None
    input_ms: float | None
    infer_ms: float | None
    output_ms: float | None
    batches: dict[int, int]

    @classmethod
    def between(cls, before: ModelCounters, after: ModelCounters) -> ModelTimes:
        """The difference."""
        requests, executions = after.requests - before.requests, after.executions - before.executions
        sizes = {size: count - before.batches.get(size, 0) for size, count in sorted(after.batches.items())}

        def mean_ms(name: str, count: int) -> float | None:
            return round((getattr(after, name) - getattr(before, name)) / 1e6 / count, 3) if count else None

        inferences = after.inferences - before.inferences
        return cls(
            inferences=inferences,
            executions=executions,
            average_batch=round(inferences / executions, 3) if executions else None,
            queue_ms=mean_ms("queue_ns", requests),
            input_ms=mean_ms("input_ns", executions),
            infer_ms=mean_ms("infer_ns", executions),
            output_ms=mean_ms("output_ns", executions),
            batches={size: count for size, count in sizes.items() if count},
        )


async def read_counters(client: Any) -> dict[str, ModelCounters]:
    """Counters of every loaded model, the ensemble too; `client` is tritonclient's for asyncio.

    Raises TritonUnavailable, InferenceFailed.
    """

    async def ask() -> Any:
        return await client.get_inference_statistics(client_timeout=5.0)

    answer = await send(ask, "statistics", RetryPolicy())
    return {
        model.name: ModelCounters(
            requests=model.inference_stats.success.count,
            inferences=model.inference_count,
            executions=model.execution_count,
            queue_ns=model.inference_stats.queue.ns,
            input_ns=sum(batch.compute_input.ns for batch in model.batch_stats),
            infer_ns=sum(batch.compute_infer.ns for batch in model.batch_stats),
            output_ns=sum(batch.compute_output.ns for batch in model.batch_stats),
            batches={batch.batch_size: batch.compute_infer.count for batch in model.batch_stats},
        )
        for model in answer.model_stats
    }


def times_between(before: dict[str, ModelCounters], after: dict[str, ModelCounters]) -> dict[str, ModelTimes]:
    """Every model that did something."""
    times = {name: ModelTimes.between(before.get(name, ModelCounters()), late) for name, late in after.items()}
    return {name: value for name, value in times.items() if value.executions}


def inferences_by_gpu(host: str, metrics_port: int, model: str) -> dict[str, int]:
    """Inferences of a model by the UUID of the GPU that made them, from Triton's metrics; empty where they have none.

    Raises OSError.
    """
    with urllib.request.urlopen(f"http://{host}:{metrics_port}/metrics", timeout=_METRICS_TIMEOUT_S) as answer:
        text = answer.read().decode()
    found: dict[str, int] = defaultdict(int)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # The parser gives counters the ending that newer exporters write themselves.
            if sample.name.removesuffix("_total") == "nv_inference_count" and sample.labels.get("model") == model:
                uuid = sample.labels.get("gpu_uuid")
                if uuid:
                    found[uuid] += int(sample.value)
    return dict(found)
