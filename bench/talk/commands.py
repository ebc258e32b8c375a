"""`bench talk`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

import typer

from bench.printing import print_criteria
from orchestrator.commands.options import CheckpointDir, DataDir
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit


def bench_talk(
    turns: Annotated[int, typer.Option(min=2, help="Turns, of which some are interrupted.")] = 100,
    seed: Annotated[int, typer.Option(help="Of what is drawn: which turns, and when they are interrupted.")] = 0,
    echo_minutes: Annotated[float, typer.Option(min=0, help="Speaking with bleed; 0: none.")] = 10,
    bleed_db: Annotated[float, typer.Option(max=0, help="How loud the avatar is in the microphone.")] = -20,
    faults: Annotated[bool, typer.Option(help="A language model that fails in each way.")] = True,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Parts that answer at once in place of the embedded; nobody interrupts.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    checkpoint: CheckpointDir = None,
    data_dir: DataDir = None,
) -> None:
    """Measure a conversation: how soon it answers and falls silent, lost turns, its own echo, failing providers."""
    settings = settings_or_exit(checkpoint_dir=checkpoint, data_dir=data_dir)
    from bench.talk.plan import TalkPlan
    from bench.talk.run import bench_talk as run_bench

    with errors_as_sentences():
        plan = TalkPlan(turns, seed, echo_minutes, bleed_db, faults, at_once)
        record = asyncio.run(run_bench(settings, plan, partial(typer.echo, err=True)))
    if as_json:
        typer.echo(record.to_json())
    else:
        print_criteria(record.criteria)
    if not record.kept:
        raise typer.Exit(1)
