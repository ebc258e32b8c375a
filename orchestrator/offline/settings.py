"""What `render` and its bench take from the settings."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from inference.client import TritonClient
from latentsync.checkpoint import Checkpoint
from orchestrator.avatars.made_for import require_prepared_for
from orchestrator.avatars.store import find_avatar
from orchestrator.offline.render import RenderOptions, RenderReport, render_in_terminal
from orchestrator.settings import Settings, SettingsError
from orchestrator.triton_secret import triton_settings
from speech.request import GenerationSettings


def render_options(settings: Settings, steps: int | None, guidance: float | None, seed: int) -> RenderOptions:
    """Options from the command line, or else the settings, or else the checkpoint.

    Their limits are those of the server's tasks: a server that runs beside a rendering takes a model that computes one
    request for very long for hung, and loads it again. Raises SettingsError beyond them.
    """
    _within("--steps", steps, "max_steps", settings.max_steps)
    _within("--guidance", guidance, "max_guidance", settings.max_guidance)
    scheduler = Checkpoint.open(settings.checkpoint_dir).scheduler
    return RenderOptions(
        steps=steps or settings.default_steps or scheduler.default_steps,
        guidance=guidance or settings.default_guidance or scheduler.default_guidance,
        seed=seed,
        generation=GenerationSettings(overlap_frames=settings.chunk_overlap_frames),
    )


def _within(option: str, value: float | None, setting: str, most: float) -> None:
    if value is not None and value > most:
        raise SettingsError(f"{option} is {value:g} and may be {most:g} at most; the setting {setting} allows more")


async def render_speech(
    settings: Settings, avatar: str, audio: Path, output: Path, options: RenderOptions
) -> RenderReport:
    """Render a speech into `output` with a progress bar on stderr; raises what `orchestrator.offline.render` does."""
    prepared = find_avatar(settings.avatars_dir, avatar)
    require_prepared_for(settings.checkpoint_dir, prepared)
    async with TritonClient(triton_settings(settings)) as client:
        return await render_in_terminal(prepared, audio, output, client, options, Console(stderr=True))
