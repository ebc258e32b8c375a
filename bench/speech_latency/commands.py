"""`bench speech-latency`."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bench.printing import print_criteria
from orchestrator.commands.options import CheckpointDir, DataDir
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit


def bench_speech_latency(
    speech: Annotated[
        Path | None, typer.Option(help="A recording that is spoken; else a stand-in for a voice.", exists=True)
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Uploads, and then sockets whose sound is ready.")] = 10,
    minutes: Annotated[float, typer.Option(min=0.1, help="Of speech at the pace of a microphone.")] = 1,
    channels: Annotated[int, typer.Option(min=1, help="Channels that speak at once at the end.")] = 2,
    emulated_like: Annotated[
        Path | None,
        typer.Option(help="A record of `bench gpu`: models take that GPU's time and answer blank.", exists=True),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    checkpoint: CheckpointDir = None,
    data_dir: DataDir = None,
) -> None:
    """Measure how long speech takes to its first sound, and a spoken sample to its frame."""
    settings = settings_or_exit(checkpoint_dir=checkpoint, data_dir=data_dir)
    from bench.speech_latency.emulated import emulated_gpu
    from bench.speech_latency.plan import LatencyPlan
    from bench.speech_latency.recording import read_recording
    from bench.speech_latency.run import bench_speech_latency as run_bench

    with errors_as_sentences():
        recording = None if speech is None else read_recording(speech)
        plan = LatencyPlan(repeats, minutes, channels)
        emulated = None if emulated_like is None else emulated_gpu(emulated_like)
        record = asyncio.run(run_bench(settings, plan, recording, partial(typer.echo, err=True), emulated))
    if as_json:
        typer.echo(record.to_json())
    else:
        print_criteria(record.criteria)
    if not record.kept:
        raise typer.Exit(1)
