"""`bench frame-numbers`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer


def bench_frame_numbers(
    days: Annotated[float, typer.Option(min=0.001, max=1000, help="Days of the stream.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the speeches and of the sleeps' ends.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Run weeks of frame numbers through clock, mixer, pairs and RTMP's times, on a virtual clock."""
    from datetime import UTC, datetime

    from bench.frame_numbers.run import FrameNumbersPlan, run_frame_numbers

    plan = FrameNumbersPlan(days=days, seed=seed)
    record = run_frame_numbers(plan, datetime.now(UTC), partial(typer.echo, err=True))
    if as_json:
        typer.echo(record.to_json())
    else:
        typer.echo(f"{record.pictures_received} of {record.ticks} frames received, {record.epochs} epochs")
        for broken in record.broken:
            typer.echo(f"BROKEN {broken}")
    if not record.kept:
        raise typer.Exit(1)
