"""`bench agents`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

import typer

from bench.printing import print_criteria
from orchestrator.commands.options import CheckpointDir
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit


def bench_agents(
    repeats: Annotated[int, typer.Option(min=0, help="Segments over each door, and as many over the plain one.")] = 15,
    segments: Annotated[int, typer.Option(min=0, help="Segments over each door that clients leave at random.")] = 0,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    checkpoint: CheckpointDir = None,
) -> None:
    """Measure how soon the doors for voice agents sound and are silent, what they report, and what they leave."""
    settings = settings_or_exit(checkpoint_dir=checkpoint)
    from bench.agents.run import AgentsPlan
    from bench.agents.run import bench_agents as run_bench

    plan = AgentsPlan(repeats, segments, seed)
    with errors_as_sentences():
        record = asyncio.run(run_bench(settings, plan, partial(typer.echo, err=True)))
    if as_json:
        typer.echo(record.to_json())
    else:
        print_criteria(record.criteria)
    if not all(criterion.kept for criterion in record.criteria):
        raise typer.Exit(1)
