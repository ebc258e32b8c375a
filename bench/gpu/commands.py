"""`bench gpu`."""

from __future__ import annotations

import asyncio
import shlex
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import typer

from bench.gpu.options import GpuOptions
from orchestrator.commands.options_object import takes
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit


@takes(GpuOptions)
def bench_gpu(options: GpuOptions) -> None:
    """Measure the models under load and the whole product, with a tritonserver and a server of its own."""
    settings = settings_or_exit(checkpoint_dir=options.checkpoint, data_dir=options.data_dir)
    from bench.gpu import plan as plans
    from bench.gpu.emulated.repository import emulation
    from bench.gpu.run import bench_gpu as run_bench
    from bench.gpu.served import ExportOptions, bench_settings, bench_sources, model_version
    from latentsync.checkpoint import Checkpoint

    with errors_as_sentences():
        plan = plans.GpuPlan(
            stages=plans.stages(options.only),
            clients=plans.counts(options.clients, "clients"),
            seconds=options.seconds,
            repeats=options.repeats,
            speech_s=options.speech_seconds,
            channels=plans.counts(options.channels, "channels"),
            live_s=options.live_seconds,
            size=plans.picture_size(options.size),
            limits=options.patience,
        )

        def for_checkpoint(served: Checkpoint) -> plans.GpuPlan:
            scheduler = served.scheduler
            return replace(
                plan,
                steps=options.steps or scheduler.default_steps,
                guidance=options.guidance or scheduler.default_guidance,
            )

        export = ExportOptions(
            options.device,
            options.dtype,
            options.engine,
            options.solver,
            options.reuse,
            options.unet_batch,
            options.full_size,
            model_version(options.version),
        )
        sources = bench_sources(
            options.repository,
            export,
            options.video,
            options.audio,
            emulation(options.emulated_gpus, options.emulated_like),
        )
        date, command = datetime.now(UTC), shlex.join(["latentsync-realtime", *sys.argv[1:]])
        report = partial(typer.echo, err=True)
        record = asyncio.run(run_bench(bench_settings(settings), sources, for_checkpoint, date, command, report))
    if options.as_json:
        typer.echo(record.to_json())
    if not record.complete:
        raise typer.Exit(1)
