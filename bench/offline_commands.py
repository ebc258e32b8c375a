"""`bench render`, `paste-back`, `chunk-borders` and `full-size`: what needs no live server."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import (
    Audio,
    AvatarName,
    CheckpointDir,
    DataDir,
    Device,
    Dtype,
    EngineName,
    Guidance,
    ModelVersion,
    Reuse,
    Steps,
    UnetBatch,
)
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit


def bench_render(
    audio: Audio,
    avatar: AvatarName = None,
    steps: Steps = None,
    guidance: Guidance = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Measure frames/s of a render and the time of each stage."""
    settings = settings_or_exit(data_dir=data_dir)
    from bench.with_settings import bench_speech
    from orchestrator.avatars.store import find_avatar
    from orchestrator.offline.settings import render_options

    with errors_as_sentences():
        prepared = find_avatar(settings.avatars_dir, avatar or settings.avatar)
        options = render_options(settings, prepared, steps, guidance, seed=0)
        record = asyncio.run(bench_speech(settings, prepared, audio, options))
    if as_json:
        typer.echo(record.to_json())
        return
    typer.echo(f"{record.frames_per_s:.1f} frames/s, {record.times_real_time:.2f} times real time")
    for stage, ms in record.stage_ms_per_frame.items():
        floor = record.floor.ms_per_frame.get(stage) if record.floor else None
        typer.echo(f"  {stage:12} {ms:6.2f} ms a frame" + (f", floor {floor:.2f}" if floor else ""))


def bench_paste_back(
    avatar: Annotated[str | None, typer.Option(help="Frames of this avatar; else drawn ones of two sizes.")] = None,
    resolution: Annotated[int, typer.Option(min=8, help="Side in pixels of the faces in drawn frames.")] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Measure pasting a face back on one core, beside doing it on the whole picture; needs no Triton."""
    settings = settings_or_exit(data_dir=data_dir)
    from bench.with_settings import bench_pasting

    with errors_as_sentences():
        record = bench_pasting(settings, avatar, resolution)
    if as_json:
        typer.echo(record.to_json())
        return
    for size in record.sizes:
        typer.echo(
            f"{size.width}×{size.height}: {size.paste_ms:.2f} ms a frame; "
            f"on the whole picture {size.whole_picture_ms:.1f} ms, {size.ratio:.0f} times as long"
        )


def bench_chunk_borders(
    version: ModelVersion = "1.5",
    width: Annotated[int, typer.Option(min=32, help="First width of the drawn network; the official is 320.")] = 32,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder of a checkpoint to measure in place of drawn weights.", file_okay=False)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 20,
    guidance: Annotated[float, typer.Option(min=1, help="Guidance scale.")] = 1.0,
) -> None:
    """Measure what the length of chunks does to frames and to the borders between chunks; prints JSON."""
    settings = settings_or_exit()
    from bench.with_settings import bench_borders

    with errors_as_sentences():
        record = bench_borders(
            settings, version, width, checkpoint, device, steps, guidance, partial(typer.echo, err=True)
        )
    typer.echo(record.to_json())


def bench_full_size(
    audio: Audio,
    video: Annotated[
        Path | None, typer.Option(help="Video of a person; else the demo's.", exists=True, dir_okay=False)
    ] = None,
    version: ModelVersion = "1.0",
    checkpoint: CheckpointDir = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    engine: EngineName = "auto",
    reuse: Reuse = 1,
    unet_batch: UnetBatch = None,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 20,
    data_dir: DataDir = None,
) -> None:
    """Export the official size (drawn weights unless --checkpoint names others), serve it, render; prints JSON."""
    settings = settings_or_exit(checkpoint_dir=checkpoint, data_dir=data_dir)
    from bench.gpu.served import model_version
    from bench.with_settings import bench_official_size

    with errors_as_sentences():
        record = asyncio.run(
            bench_official_size(
                settings,
                video,
                audio,
                partial(typer.echo, err=True),
                version=model_version(version),
                device=device,
                dtype=dtype,
                engine=engine,
                reuse=reuse,
                unet_batch=unet_batch,
                steps=steps,
            )
        )
    typer.echo(record.to_json())
