"""`bench motions`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer


def bench_motions(
    switches: Annotated[int, typer.Option(min=4, max=2000, help="Switches; every second one in speech.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of their moments.")] = 0,
    idle: Annotated[Path | None, typer.Option(help="Video of the idle clip; else the demo's.", exists=True)] = None,
    motion: Annotated[list[Path] | None, typer.Option(help="Video of a motion; else the demo's.", exists=True)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Switch between idle and motions at random moments, in virtual time, and look at every frame; needs no Triton."""
    from datetime import UTC, datetime

    from bench.machine import this_machine
    from bench.motions.run import MotionsPlan, run_motions
    from latentsync.landmarks import FaceLandmarker
    from speech.audio.decoder import ffmpeg_binary

    # Relative, since the record names the clips, and nobody needs to know where a checkout lay.
    checkpoints = Path(os.path.relpath(Path(__file__).parents[2])) / "checkpoints"
    demo, finder = checkpoints / "demo" / "avatar", FaceLandmarker(checkpoints / "face")
    motions = tuple(motion or sorted((demo / "motions").glob("*.mp4")))
    plan = MotionsPlan(switches, seed, idle or demo / "idle.mp4", motions)
    machine, report = this_machine(str(ffmpeg_binary())), partial(typer.echo, err=True)
    record = run_motions(plan, machine, datetime.now(UTC), report, finder)
    if as_json:
        typer.echo(record.to_json())
    else:
        waits = record.to_motion_idle_s, record.to_motion_speaking_s
        typer.echo(f"{record.switches_idle} switches in idle, {record.switches_speaking} in speech")
        typer.echo(f"largest step of a switch over that of the clips: {record.switch_ratio:.2f}")
        typer.echo(f"to the motion, p50 and p95: {waits[0].p50} {waits[0].p95} s; {waits[1].p50} {waits[1].p95} s")
        for broken in record.broken:
            typer.echo(f"BROKEN {broken}")
    if record.broken:
        raise typer.Exit(1)
