"""`bench webrtc`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from bench.printing import print_criteria
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit


def bench_webrtc(
    seconds: Annotated[float, typer.Option(min=5, help="Seconds of each part.")] = 30,
    sound_seconds: Annotated[float, typer.Option(min=5, help="Seconds that lips and sound are compared.")] = 600,
    viewers: Annotated[int, typer.Option(min=2, max=60, help="Viewers at once.")] = 10,
    visits: Annotated[int, typer.Option(min=1, help="Viewers that come and go.")] = 200,
    loss: Annotated[float, typer.Option(min=0, max=0.5, help="Share of the packets that a relay loses.")] = 0.05,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Measure what a viewer sees over WebRTC, in a headless Chromium, and what viewers cost; needs no Triton."""
    settings = settings_or_exit()
    from bench.webrtc.record import WebRtcPlan
    from bench.webrtc.record import bench_webrtc as run_bench
    from speech.audio.decoder import ffmpeg_binary

    with errors_as_sentences():
        plan = WebRtcPlan(seconds, sound_seconds, viewers, visits, loss)
        record = asyncio.run(run_bench(plan, settings.checkpoint_dir, str(settings.ffmpeg or ffmpeg_binary())))
    if as_json:
        typer.echo(record.to_json())
    else:
        print_criteria(record.criteria)
    if not record.kept:
        raise typer.Exit(1)
