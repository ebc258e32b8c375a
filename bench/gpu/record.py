"""The record of a run of `bench gpu`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.gpu.emulated.repository import Emulation
from bench.gpu.ensemble import LoadPoint
from bench.gpu.gpu_memory import GpuMemory
from bench.gpu.gpu_watch import Gpu
from bench.gpu.live import LivePoint
from bench.gpu.plan import GpuPlan, Stage
from bench.gpu.product import ProductBench
from bench.machine import Machine
from export.repository import RECORD


@dataclass
class GpuBench:
    """Everything that a run found; a stage that was not asked for, or didn't come to a figure, has none.

    `exported` is what the repository was exported with, `emulated` what stood in place of UNet's and decoder's GPUs,
    `load_s` the time from the start of tritonserver until all models are ready. `took_s` is each stage's whole time,
    `cut_off` names those that ran into their limit, `failures` says why others ended.
    """

    date: str
    command: str
    machine: Machine
    gpus: tuple[Gpu, ...]
    plan: GpuPlan
    exported: dict[str, Any]
    checkpoint: str
    emulated: Emulation | None = None
    export_s: float | None = None
    triton: str = ""
    load_s: float | None = None
    chunks: str = ""
    ensemble: list[LoadPoint] = field(default_factory=list)
    product: ProductBench | None = None
    live: list[LivePoint] = field(default_factory=list)
    gpu_memory: GpuMemory | None = None
    took_s: dict[str, float] = field(default_factory=dict)
    cut_off: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def channels_on_time(self) -> int | None:
        """The most channels on which no frame was late; None when that was not measured."""
        return max((p.channels for p in self.live if p.on_time), default=0) if self.live else None

    @property
    def complete(self) -> bool:
        """Every stage came to its end."""
        return not self.cut_off and not self.failures

    def to_json(self) -> str:
        """All of it as indented JSON, with what follows from the figures."""
        values = asdict(self)
        values["plan"].pop("limits")
        values["plan"]["stages"] = [Stage(stage).value for stage in self.plan.stages]
        values["channels_on_time"] = self.channels_on_time
        for shown, point in zip(values["live"], self.live, strict=True):
            shown["on_time"] = point.on_time
        if self.product is not None:
            values["product"]["median_ms"] = self.product.median_ms
        return json.dumps(values, indent=2, ensure_ascii=False)


def export_options(repository: Path) -> dict[str, Any]:
    """What a model repository was exported with; raises OSError and ValueError for a folder that is none."""
    options: dict[str, Any] = json.loads((repository / RECORD).read_text(encoding="utf-8"))["options"]
    return options
