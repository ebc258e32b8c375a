"""What `render` and `bench` do with the settings: open, connect, run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from latentsync.avatar import PreparedAvatar
from latentsync.checkpoint import Checkpoint
from orchestrator.avatars.store import avatar_directory, find_avatar
from orchestrator.bench.full_size import FullSizeBench, bench_full_size
from orchestrator.bench.paste_back import PasteBackBench, bench_paste_back
from orchestrator.bench.render import RenderBench, bench_render
from orchestrator.inference.client import TritonClient
from orchestrator.inference.transport import TritonSettings
from orchestrator.render import RenderOptions, RenderReport, render_in_terminal
from orchestrator.settings import CHECKOUT, Settings


async def render_speech(
    settings: Settings, avatar: str, audio: Path, output: Path, options: RenderOptions
) -> RenderReport:
    """Render a speech into `output` with a progress bar on stderr; raises what `orchestrator.render.render` does."""
    prepared = PreparedAvatar.open(avatar_directory(settings.avatars_dir, avatar))
    async with TritonClient(TritonSettings(url=settings.triton_grpc_url)) as client:
        return await render_in_terminal(prepared, audio, output, client, options, Console(stderr=True))


async def bench_speech(settings: Settings, avatar: str, audio: Path, options: RenderOptions) -> RenderBench:
    """Measure the render of a speech; raises what `orchestrator.render.render` and Checkpoint do."""
    prepared = PreparedAvatar.open(avatar_directory(settings.avatars_dir, avatar))
    async with TritonClient(TritonSettings(url=settings.triton_grpc_url)) as client:
        record = await bench_render(prepared, audio, client, options, datetime.now(UTC))
    if record.machine.gpus:
        return record
    from orchestrator.bench.floor import floor_here  # torch

    checkpoint = Checkpoint.open(settings.checkpoint_dir)
    floor = floor_here(checkpoint, record.frames, options.steps, options.guidance, settings.cpu_threads)
    return replace(record, floor=floor)


def bench_pasting(settings: Settings, avatar: str | None) -> PasteBackBench:
    """Measure paste-back on an avatar's frames, or on drawn ones; raises AvatarError."""
    prepared = None if avatar is None else find_avatar(settings.avatars_dir, avatar)
    return bench_paste_back(datetime.now(UTC), prepared)


async def bench_official_size(
    settings: Settings, video: Path | None, audio: Path, say: Callable[[str], None], **options: Any
) -> FullSizeBench:
    """Measure the official size; `options` are those of `bench_full_size`, which says what is raised."""
    clip = video or CHECKOUT / "checkpoints" / "demo" / "avatar" / "idle.mp4"
    return await bench_full_size(settings, clip, audio, datetime.now(UTC), say=say, **options)


def render_options(settings: Settings, steps: int | None, guidance: float | None, seed: int) -> RenderOptions:
    """Options from the command line, or else the settings, or else the checkpoint."""
    scheduler = Checkpoint.open(settings.checkpoint_dir).scheduler
    return RenderOptions(
        steps=steps or settings.default_steps or scheduler.default_steps,
        guidance=guidance or settings.default_guidance or scheduler.default_guidance,
        seed=seed,
    )
