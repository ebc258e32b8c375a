"""`bench load`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from bench.printing import print_criteria
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit


def bench_load(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long the clients go on.")] = 5,
    uploads: Annotated[int, typer.Option(min=1, max=2000, help="Clients that upload speech of 5 s.")] = 200,
    pollers: Annotated[int, typer.Option(min=1, max=2000, help="Clients that ask for tasks' states.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Measure a live server under many clients: answers, times, memory, and its stream; needs nginx-rtmp."""
    settings = settings_or_exit()
    from bench.load.record import LoadPlan
    from bench.load.record import bench_load as run_bench
    from speech.audio.decoder import ffmpeg_binary

    with errors_as_sentences():
        plan = LoadPlan(minutes, uploads, pollers)
        record = asyncio.run(run_bench(plan, settings.checkpoint_dir, str(settings.ffmpeg or ffmpeg_binary())))
    if as_json:
        typer.echo(record.to_json())
    else:
        print_criteria(record.criteria)
    if not record.kept:
        raise typer.Exit(1)
