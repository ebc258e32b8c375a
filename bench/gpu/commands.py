"""`bench gpu`: its options."""

from __future__ import annotations

import asyncio
import shlex
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import (
    CheckpointDir,
    DataDir,
    Device,
    Dtype,
    EngineName,
    Guidance,
    Reuse,
    SolverName,
    Steps,
    UnetBatch,
)
from orchestrator.commands.terminal import errors_as_sentences as _errors
from orchestrator.commands.terminal import settings_or_exit as _settings

Video = Annotated[
    Path | None, typer.Option(help="Clip that the avatar is made of; else the demo's.", exists=True, dir_okay=False)
]
Speech = Annotated[
    Path | None, typer.Option("--audio", help="Speech; else drawn noise in its rhythm.", exists=True, dir_okay=False)
]
EmulatedGpus = Annotated[
    int | None, typer.Option(min=1, help="So many emulated GPUs in the place of UNet's and decoder's.")
]
EmulatedLike = Annotated[
    Path | None, typer.Option(help="Record of a real one, whose times they take.", exists=True, dir_okay=False)
]
Repository = Annotated[
    Path | None, typer.Option(help="Model repository to measure; else one is exported.", exists=True, file_okay=False)
]


def bench_gpu(
    repository: Repository = None,
    only: Annotated[str | None, typer.Option(help="Some of ensemble,product,live,gpu_memory; else all.")] = None,
    clients: Annotated[str, typer.Option(help="Concurrent clients of the ensemble.")] = "1,2,3,4,5,8,16",
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds of each load.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="Speeches of the product stage.")] = 5,
    channels: Annotated[str, typer.Option(help="Live channels, more and more until a frame is late.")] = "1,2,4,6,9",
    live_seconds: Annotated[float, typer.Option(min=1, help="Seconds of each number of channels.")] = 20,
    speech_seconds: Annotated[float, typer.Option(min=1, help="Length of the speech.")] = 5,
    size: Annotated[
        str | None, typer.Option(help="Pictures of live channels: 480p, 832x1248; else the clip's.")
    ] = None,
    audio: Speech = None,
    video: Video = None,
    full_size: Annotated[bool, typer.Option(help="Draw weights of the official size in the demo's place.")] = False,
    checkpoint: CheckpointDir = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    engine: EngineName = "auto",
    solver: SolverName = "ddim",
    reuse: Reuse = 1,
    unet_batch: UnetBatch = None,
    steps: Steps = None,
    guidance: Guidance = None,
    emulated_gpus: EmulatedGpus = None,
    emulated_like: EmulatedLike = None,
    patience: Annotated[float, typer.Option(min=0.1, help="Times each stage's usual limit.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Measure the models under load and the whole product, with a tritonserver and a service of its own."""
    settings = _settings(checkpoint_dir=checkpoint, data_dir=data_dir)
    from bench.gpu import plan as plans
    from bench.gpu.emulated.repository import emulation
    from bench.gpu.run import bench_gpu as run_bench
    from bench.gpu.served import ExportOptions, bench_settings, bench_sources
    from latentsync.checkpoint import Checkpoint

    with _errors():
        plan = plans.GpuPlan(
            stages=plans.stages(only),
            clients=plans.counts(clients, "clients"),
            seconds=seconds,
            repeats=repeats,
            speech_s=speech_seconds,
            channels=plans.counts(channels, "channels"),
            live_s=live_seconds,
            size=plans.picture_size(size),
            limits=patience,
        )

        def for_checkpoint(served: Checkpoint) -> plans.GpuPlan:
            scheduler = served.scheduler
            return replace(
                plan, steps=steps or scheduler.default_steps, guidance=guidance or scheduler.default_guidance
            )

        export = ExportOptions(device, dtype, engine, solver, reuse, unet_batch, full_size)
        sources = bench_sources(repository, export, video, audio, emulation(emulated_gpus, emulated_like))
        date, command = datetime.now(UTC), shlex.join(["latentsync-realtime", *sys.argv[1:]])
        say = partial(typer.echo, err=True)
        record = asyncio.run(run_bench(bench_settings(settings), sources, for_checkpoint, date, command, say))
    if as_json:
        typer.echo(record.to_json())
    if not record.complete:
        raise typer.Exit(1)
