"""`bench perf-analyzer` and `bench perf-analyzer-data`: their options."""

from __future__ import annotations

import asyncio
import shlex
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bench.gpu.options import Repository, Speech, Video
from orchestrator.commands.options import CheckpointDir, DataDir, Device, Dtype, EngineName, Guidance, Steps, UnetBatch
from orchestrator.commands.terminal import errors_as_sentences as _errors
from orchestrator.commands.terminal import settings_or_exit as _settings

Models = Annotated[str, typer.Option(help="Some of lipsync,unet,vae_decoder.")]
Concurrency = Annotated[str, typer.Option(help="Clients from:to, or from:to:step.")]
WindowMs = Annotated[int, typer.Option(min=500, help="Length of a measurement window in ms.")]
SharedMemory = Annotated[bool, typer.Option(help="Tensors through shared memory, as the product sends them.")]
FullSize = Annotated[bool, typer.Option(help="Draw weights of the official size in the demo's place.")]


def perf_analyzer_data(
    output: Annotated[Path, typer.Argument(help="Folder to write to.", file_okay=False)],
    repository: Repository = None,
    audio: Speech = None,
    video: Video = None,
    models: Models = "lipsync,unet,vae_decoder",
    steps: Steps = None,
    guidance: Guidance = None,
    checkpoint: CheckpointDir = None,
    full_size: FullSize = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    engine: EngineName = "auto",
    unet_batch: UnetBatch = None,
    concurrency: Concurrency = "1:8",
    shared_memory: SharedMemory = True,
    data_dir: DataDir = None,
) -> None:
    """Write requests of real chunks for NVIDIA's perf_analyzer, and print the commands that take them."""
    settings = _settings(checkpoint_dir=checkpoint, data_dir=data_dir)
    from bench.gpu.perf_run import PerfPlan, perf_data
    from bench.gpu.served import ExportOptions, bench_settings, bench_sources

    with _errors():
        export = ExportOptions(device, dtype, engine, unet_batch=unet_batch, full_size=full_size)
        sources = bench_sources(repository, export, video, audio)
        plan = PerfPlan(
            steps, guidance, models=tuple(models.split(",")), concurrency=concurrency, shared_memory=shared_memory
        )
        report = partial(typer.echo, err=True)
        url = settings.triton_grpc_url
        for run in asyncio.run(perf_data(bench_settings(settings), sources, plan, url, output, report)):
            typer.echo(shlex.join(["perf_analyzer", *run.arguments()]))


def perf_analyzer(
    output: Annotated[Path, typer.Argument(help="Folder for requests, CSV and text.", file_okay=False)],
    binary: Annotated[
        Path | None, typer.Option(help="perf_analyzer, or a wheel that holds it; else from PATH.", exists=True)
    ] = None,
    repository: Repository = None,
    audio: Speech = None,
    video: Video = None,
    models: Models = "lipsync",
    steps: Steps = None,
    guidance: Guidance = None,
    checkpoint: CheckpointDir = None,
    full_size: FullSize = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    engine: EngineName = "auto",
    unet_batch: UnetBatch = None,
    concurrency: Concurrency = "1:8",
    window_ms: WindowMs = 5000,
    shared_memory: SharedMemory = True,
    timeout: Annotated[float, typer.Option(min=10, help="Seconds that each model's run may take.")] = 480,
    data_dir: DataDir = None,
) -> None:
    """Measure the models with NVIDIA's perf_analyzer, on a tritonserver of its own and with requests of real chunks."""
    settings = _settings(checkpoint_dir=checkpoint, data_dir=data_dir)
    from bench.gpu.perf_run import PerfPlan
    from bench.gpu.perf_run import perf_analyzer as run_all
    from bench.gpu.served import ExportOptions, bench_settings, bench_sources

    with _errors():
        export = ExportOptions(device, dtype, engine, unet_batch=unet_batch, full_size=full_size)
        sources = bench_sources(repository, export, video, audio)
        plan = PerfPlan(
            steps, guidance, models=tuple(models.split(",")), concurrency=concurrency, window_ms=window_ms,
            shared_memory=shared_memory, timeout_s=timeout,
        )  # fmt: skip
        report = partial(typer.echo, err=True)
        printed = asyncio.run(run_all(bench_settings(settings), sources, plan, binary, output, report))
    for model, text in printed.items():
        typer.echo(text)
        typer.echo(f"{output / f'{model}.csv'} is written")
