"""The official size through the whole way: export with parity, a real tritonserver, an avatar, a rendered speech."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.render import RenderBench, bench_render
from export.recipe import Version, recipe_checkpoint
from export.repository import PARITY, WEIGHTS, export_repository
from inference.client import TritonClient
from inference.launcher import TritonServer
from latentsync.checkpoint import Checkpoint
from latentsync.landmarks import FaceLandmarker
from orchestrator.avatars.prepare import prepare_avatar
from orchestrator.offline.render import RenderOptions
from orchestrator.settings import Settings
from orchestrator.triton import triton_options
from orchestrator.triton_secret import triton_settings

_NAME = "full-size"


@dataclass(frozen=True)
class FullSizeBench:
    """What was exported, how far it is from float32 eager, and how a render with it went.

    `load_s` is the start of tritonserver until all models are ready. Memory in GiB: the peak of this process, which
    exports; and all of this process's children together (tritonserver and its models) at the end of the render, shared
    pages counted once.
    """

    checkpoint: str
    engine: str
    dtype: str
    device: str
    export_s: float
    load_s: float
    export_peak_gib: float
    served_gib: float
    parity: list[dict[str, Any]]
    render: RenderBench

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=2)


async def bench_full_size(
    settings: Settings,
    video: Path,
    audio: Path,
    date: datetime,
    *,
    device: str,
    dtype: str,
    engine: str,
    steps: int,
    version: Version = Version.V1_0,
    reuse: int = 1,
    unet_batch: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> FullSizeBench:
    """Everything in `settings.data_dir`, with `settings.checkpoint_dir`, or where that is the demo's, drawn weights.

    Starts a tritonserver of its own, and stops it. Raises what export, Triton, the avatar's preparation and the render
    raise.
    """
    checkpoint_dir = settings.checkpoint_dir
    if checkpoint_dir.name == "demo":
        report("drawing weights of the official size")
        checkpoint_dir = recipe_checkpoint(settings.data_dir / "checkpoints", version)
    repository = settings.model_repository
    report("exporting")
    began = time.monotonic()
    export_repository(
        checkpoint_dir,
        repository,
        device=device,
        dtype=dtype,
        engine=engine,
        reuse=reuse,
        unet_batch=unet_batch,
        cpu_threads=settings.cpu_threads,
        report=report,
    )
    exported = time.monotonic()
    report("starting Triton")
    server = await TritonServer.start(triton_options(settings))
    loaded = time.monotonic()
    try:
        async with TritonClient(triton_settings(settings)) as client:
            report("preparing the avatar")
            finder = FaceLandmarker(settings.checkpoint_dir.parent / "face")
            checkpoint = Checkpoint.open(checkpoint_dir)
            avatar = await prepare_avatar(video, _NAME, settings.avatars_dir, checkpoint, client, finder)
            report("rendering")
            record = await bench_render(avatar, audio, client, RenderOptions(steps=steps), date)
            served_gib = _children_gib(os.getpid())
    finally:
        await server.aclose()
    written = json.loads((repository / "export.json").read_text(encoding="utf-8"))["options"]
    return FullSizeBench(
        checkpoint=checkpoint.name,
        engine=engine,
        dtype=dtype,
        device=written["device"],
        export_s=round(exported - began, 1),
        load_s=round(loaded - exported, 1),
        export_peak_gib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        served_gib=round(served_gib, 2),
        parity=json.loads((repository / WEIGHTS / PARITY).read_text(encoding="utf-8")),
        render=record,
    )


def _children_gib(pid: int) -> float:
    """Proportional memory of all descendants of a process; those that end meanwhile count nothing."""
    total = 0.0
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):
                lines = Path(f"/proc/{child}/smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 2**20
                total += _children_gib(int(child))
    return total
