"""What the benches take from the settings: open, connect, run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.chunk_borders import ChunkBorders, chunk_borders
from bench.full_size import FullSizeBench, bench_full_size
from bench.gpu.served import model_version
from bench.paste_back import PasteBackBench, bench_paste_back
from bench.render import RenderBench, bench_render
from inference.client import TritonClient
from latentsync.avatar import PreparedAvatar
from latentsync.checkpoint import Checkpoint
from orchestrator.avatars.store import find_avatar
from orchestrator.checkpoints import ServedCheckpoints
from orchestrator.offline.render import RenderOptions
from orchestrator.settings import CHECKOUT, Settings
from orchestrator.triton_secret import triton_settings
from speech.audio.decoder import ffmpeg_binary


async def bench_speech(settings: Settings, avatar: PreparedAvatar, audio: Path, options: RenderOptions) -> RenderBench:
    """Measure the render of a speech; raises what `orchestrator.offline.render.render` and Checkpoint do."""
    async with TritonClient(triton_settings(settings)) as client:
        record = await bench_render(avatar, audio, client, options, datetime.now(UTC))
    if record.machine.gpus:
        return record
    from bench.floor import floor, kernel_rates  # torch

    checkpoint = ServedCheckpoints.open(settings).of(avatar)
    threads, measured_ms = settings.cpu_threads, record.stage_ms_per_frame
    kernels = await asyncio.to_thread(kernel_rates, threads)
    lowest = floor(checkpoint, record.frames, options.steps, options.guidance, threads, kernels, measured_ms)
    return replace(record, floor=lowest)


def bench_pasting(settings: Settings, avatar: str | None, resolution: int) -> PasteBackBench:
    """Measure paste-back on an avatar's frames, or on drawn ones with faces of that resolution; raises AvatarError."""
    prepared = None if avatar is None else find_avatar(settings.avatars_dir, avatar)
    return bench_paste_back(datetime.now(UTC), prepared, resolution=resolution)


def bench_borders(
    settings: Settings,
    version: str,
    width: int,
    checkpoint_dir: Path | None,
    device: str,
    steps: int,
    guidance: float,
    report: Callable[[str], None],
) -> ChunkBorders:
    """Measure borders between chunks, of a checkpoint or of drawn weights; raises SettingsError, CheckpointError."""
    from export.recipe import recipe_unet

    if checkpoint_dir is None:
        unet, size = recipe_unet(model_version(version), width, device)
        network = f"LatentSync {version}, first width {width}, drawn weights"
    else:
        checkpoint = Checkpoint.open(checkpoint_dir)
        unet, size, network = checkpoint.load_unet(device), checkpoint.latent_size, checkpoint.name
    ffmpeg = str(settings.ffmpeg or ffmpeg_binary())
    return chunk_borders(unet, network, size, steps, guidance, datetime.now(UTC), ffmpeg, report)


async def bench_official_size(
    settings: Settings, video: Path | None, audio: Path, report: Callable[[str], None], **options: Any
) -> FullSizeBench:
    """Measure the official size; `options` are those of `bench_full_size`, which says what is raised."""
    clip = video or CHECKOUT / "checkpoints" / "demo" / "avatar" / "idle.mp4"
    return await bench_full_size(settings, clip, audio, datetime.now(UTC), report=report, **options)
