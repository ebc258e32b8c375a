"""`bench agents`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

import typer

from bench.printing import print_criteria
from orchestrator.commands.options import CheckpointDir, DataDir
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit


def bench_agents(
    repeats: Annotated[int, typer.Option(min=1, help="Segments over each door.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    checkpoint: CheckpointDir = None,
    data_dir: DataDir = None,
) -> None:
    """Measure from a segment's first sound to its first report, over a session's socket and over the plain one."""
    settings = settings_or_exit(checkpoint_dir=checkpoint, data_dir=data_dir)
    from bench.agents.run import bench_agents as run_bench

    with errors_as_sentences():
        record = asyncio.run(run_bench(settings, repeats, partial(typer.echo, err=True)))
    if as_json:
        typer.echo(record.to_json())
    else:
        print_criteria(record.criteria)
    if not all(criterion.kept for criterion in record.criteria):
        raise typer.Exit(1)
