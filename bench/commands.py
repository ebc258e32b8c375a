"""`bench`: what this machine does, as records."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.gpu.commands import bench_gpu
from bench.gpu.perf_commands import perf_analyzer, perf_analyzer_data
from orchestrator.commands.options import (
    Audio,
    AvatarName,
    CheckpointDir,
    DataDir,
    Device,
    Dtype,
    EngineName,
    Guidance,
    Steps,
    UnetBatch,
)
from orchestrator.commands.terminal import errors_as_sentences as _errors
from orchestrator.commands.terminal import settings_or_exit as _settings

if TYPE_CHECKING:
    from bench.stream.criteria import Criterion

bench_app = typer.Typer(help="Measure this machine.", no_args_is_help=True)
bench_app.command("gpu")(bench_gpu)
bench_app.command("perf-analyzer")(perf_analyzer)
bench_app.command("perf-analyzer-data")(perf_analyzer_data)


@bench_app.command("render")
def bench_render(
    audio: Audio,
    avatar: AvatarName = None,
    steps: Steps = None,
    guidance: Guidance = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Measure frames/s of a render and the time of each stage."""
    settings = _settings(data_dir=data_dir)
    from bench.with_settings import bench_speech
    from orchestrator.offline.settings import render_options

    with _errors():
        options = render_options(settings, steps, guidance, seed=0)
        record = asyncio.run(bench_speech(settings, avatar or settings.avatar, audio, options))
    if as_json:
        typer.echo(record.to_json())
        return
    typer.echo(f"{record.frames_per_s:.1f} frames/s, {record.times_real_time:.2f} times real time")
    for stage, ms in record.stage_ms_per_frame.items():
        floor = record.floor.ms_per_frame.get(stage) if record.floor else None
        typer.echo(f"  {stage:12} {ms:6.2f} ms a frame" + (f", floor {floor:.2f}" if floor else ""))


@bench_app.command("stream")
def bench_stream(
    duration: Annotated[float, typer.Option(min=60, help="Seconds that the stream is watched.")] = 600,
    size: Annotated[str, typer.Option(help="Width and height of the pictures.")] = "832x1248",
    channels: Annotated[int, typer.Option(min=1, max=16, help="Channels at once.")] = 1,
    speeches: Annotated[int | None, typer.Option(min=1, help="Speeches; else 20 in 10 minutes.")] = None,
    faults: Annotated[bool, typer.Option(help="Kill the RTMP server and the encoder on the way.")] = True,
    fault_minutes: Annotated[
        float | None,
        typer.Option(min=0.5, help="A fault each so many minutes, of all kinds in turn; else some kills on the way."),
    ] = None,
    bitrate: Annotated[int, typer.Option(min=100, help="Bitrate of the video, kbit/s.")] = 2500,
    clip: Annotated[Path | None, typer.Option(help="Video that the avatar is; else the demo's.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder in which what was received is kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Measure a channel as its viewers see it, through a real RTMP server, with faults; needs nginx-rtmp, no Triton."""
    settings = _settings()
    from bench.stream.commands import measure_stream

    with _errors():
        record = measure_stream(
            settings, duration, size, channels, speeches, faults, fault_minutes, bitrate, clip, keep
        )
    if as_json:
        typer.echo(record.to_json())
    else:
        _print_criteria(record.criteria)
    if not record.kept:
        raise typer.Exit(1)


@bench_app.command("load")
def bench_load(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long the clients go on.")] = 5,
    uploads: Annotated[int, typer.Option(min=1, max=2000, help="Clients that upload speech of 5 s.")] = 200,
    pollers: Annotated[int, typer.Option(min=1, max=2000, help="Clients that ask for tasks' states.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Measure a live server under many clients: answers, times, memory, and its stream; needs nginx-rtmp."""
    settings = _settings()
    from bench.load.record import LoadPlan
    from bench.load.record import bench_load as measure_load
    from speech.audio.decoder import ffmpeg_binary

    with _errors():
        plan = LoadPlan(minutes, uploads, pollers)
        record = asyncio.run(measure_load(plan, settings.checkpoint_dir, str(settings.ffmpeg or ffmpeg_binary())))
    if as_json:
        typer.echo(record.to_json())
    else:
        _print_criteria(record.criteria)
    if not record.kept:
        raise typer.Exit(1)


def _print_criteria(criteria: Iterable[Criterion]) -> None:
    for criterion in criteria:
        mark = "kept  " if criterion.kept else "BROKEN"
        typer.echo(f"{mark} {criterion.name}: {criterion.measured} (allowed: {criterion.allowed})")


@bench_app.command("frame-numbers")
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


@bench_app.command("paste-back")
def bench_paste_back(
    avatar: Annotated[str | None, typer.Option(help="Frames of this avatar; else drawn ones of two sizes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Measure pasting a face back on one core, beside doing it on the whole picture; needs no Triton."""
    settings = _settings(data_dir=data_dir)
    from bench.with_settings import bench_pasting

    with _errors():
        record = bench_pasting(settings, avatar)
    if as_json:
        typer.echo(record.to_json())
        return
    for size in record.sizes:
        typer.echo(
            f"{size.width}×{size.height}: {size.paste_ms:.2f} ms a frame; "
            f"on the whole picture {size.whole_picture_ms:.1f} ms, {size.ratio:.0f} times as long"
        )


@bench_app.command("full-size")
def bench_full_size(
    audio: Audio,
    video: Annotated[
        Path | None, typer.Option(help="Video of a person; else the demo's.", exists=True, dir_okay=False)
    ] = None,
    checkpoint: CheckpointDir = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    engine: EngineName = "auto",
    unet_batch: UnetBatch = None,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 20,
    data_dir: DataDir = None,
) -> None:
    """Export the official size (drawn weights unless --checkpoint names others), serve it, render; prints JSON."""
    settings = _settings(checkpoint_dir=checkpoint, data_dir=data_dir)
    from bench.with_settings import bench_official_size

    with _errors():
        record = asyncio.run(
            bench_official_size(
                settings,
                video,
                audio,
                partial(typer.echo, err=True),
                device=device,
                dtype=dtype,
                engine=engine,
                unet_batch=unet_batch,
                steps=steps,
            )
        )
    typer.echo(record.to_json())
