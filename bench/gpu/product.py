"""The whole product: from an upload that has arrived to its first spoken frame in the encoder's hands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.gpu.counters import ModelTimes, read_counters, times_between
from bench.gpu.plan import GpuPlan
from bench.gpu.product_server import ProductServer
from bench.gpu.speech import Speech

# Each stage ends with a stamp of the task and begins with the one before.
_STAGES = {
    "decode": "decoded",
    "queue": "started",
    "whisper": "features",
    "first_chunk": "first_face",
    "hand_over": "first_frame",
}


@dataclass(frozen=True)
class FirstFrame:
    """One speech on an idle channel, in ms after its upload had arrived, by the task's own stamps.

    `stages_ms` add up to `first_frame_ms`: decoding, waiting for the channel, Whisper, beside which the place is
    reserved, the first chunk (UNet, decoder and the ways there), and from there to the encoder: what is held until the
    speech can play through, and the avatar's walk to the reserved frame. `models` are Triton's own counters over the
    whole speech.
    """

    first_frame_ms: int
    stages_ms: dict[str, int]
    models: dict[str, ModelTimes]


@dataclass
class ProductBench:
    """Speeches one after another; the median is None until there is one."""

    speech: str
    avatar: str
    avatar_size: tuple[int, int]
    face_size: int
    runs: list[FirstFrame]

    @property
    def median_ms(self) -> float | None:
        """Of `first_frame_ms`."""
        return median(run.first_frame_ms for run in self.runs) if self.runs else None


async def bench_product(
    server: ProductServer,
    triton: Any,
    channel: str,
    speech: Speech,
    plan: GpuPlan,
    found: Callable[[FirstFrame], None],
) -> None:
    """Says the speech so often, each time on the idle channel; raises ProductFailed, InferenceError."""
    wav = speech.wav
    for _ in range(plan.repeats):
        before = await read_counters(triton)
        task_id = await server.say(wav, channel, plan.steps, plan.guidance)
        task = await server.task(task_id, "done")
        found(_first_frame(task, times_between(before, await read_counters(triton))))


def _first_frame(task: dict[str, Any], models: dict[str, ModelTimes]) -> FirstFrame:
    at_ms = {stamp: round(1000 * seconds) for stamp, seconds in task["timings_s"].items()}
    stages, begun = {}, 0
    for stage, stamp in _STAGES.items():
        stages[stage], begun = at_ms[stamp] - begun, at_ms[stamp]
    return FirstFrame(at_ms["first_frame"], stages, models)
