"""`bench motions`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import CheckpointDir
from orchestrator.commands.terminal import errors_as_sentences


def bench_motions(
    switches: Annotated[int, typer.Option(min=4, max=2000, help="Switches; every second one in speech.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of their moments.")] = 0,
    idle: Annotated[Path | None, typer.Option(help="Video of the idle clip; else the demo's.", exists=True)] = None,
    motion: Annotated[list[Path] | None, typer.Option(help="Video of a motion; else the demo's.", exists=True)] = None,
    speeches: Annotated[int, typer.Option(min=0, max=200, help="Speeches whose lips are compared; 0: none.")] = 4,
    checkpoint: CheckpointDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Switch between idle and motions at random moments, in virtual time; look at every frame, and compare lips."""
    from datetime import UTC, datetime

    from bench.machine import this_machine
    from bench.motions.lips import LipsAcross
    from bench.motions.run import MotionsPlan, run_motions
    from latentsync.landmarks import FaceLandmarker
    from speech.audio.decoder import ffmpeg_binary

    # Relative, since the record names the clips, and nobody needs to know where a checkout lay.
    checkpoints = Path(os.path.relpath(Path(__file__).parents[2])) / "checkpoints"
    demo, finder = checkpoints / "demo" / "avatar", FaceLandmarker(checkpoints / "face")
    motions = tuple(motion or sorted((demo / "motions").glob("*.mp4")))
    plan = MotionsPlan(switches, seed, idle or demo / "idle.mp4", motions)
    machine, report = this_machine(str(ffmpeg_binary())), partial(typer.echo, err=True)
    lips: LipsAcross | None = None
    if speeches:
        from bench.motions.with_networks import measure_lips

        with errors_as_sentences():
            of = checkpoint or checkpoints / "demo"
            lips = measure_lips(of, checkpoints / "face", plan.idle, plan.motions, speeches, seed, report)
    record = run_motions(plan, machine, datetime.now(UTC), report, finder, lips)
    if as_json:
        typer.echo(record.to_json())
    else:
        waits = record.to_motion_idle_s, record.to_motion_speaking_s
        typer.echo(f"{record.switches_idle} switches in idle, {record.switches_speaking} in speech")
        typer.echo(f"largest step of a switch over that of the clips: {record.switch_ratio:.2f}")
        typer.echo(f"to the motion, p50 and p95: {waits[0].p50} {waits[0].p95} s; {waits[1].p50} {waits[1].p95} s")
        if record.lips is not None:
            typer.echo(f"lips across {record.lips.switches} switches, r in the mean, median and least:")
            for name, value in (
                ("beside the same speech without a switch, in the same pose", record.lips.same_pose),
                ("beside the same speech on idle alone", record.lips.idle_alone),
                ("those two beside each other: the poses alone", record.lips.poses_alone),
                ("the first with lips three frames late", record.lips.late),
            ):
                typer.echo(f"  {value.mean:5.2f} {value.median:5.2f} {value.least:5.2f}  {name}")
        for broken in record.broken:
            typer.echo(f"BROKEN {broken}")
    if record.broken:
        raise typer.Exit(1)
