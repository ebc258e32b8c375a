"""What `render` and its bench take from the settings."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from inference.client import TritonClient
from latentsync.avatar import PreparedAvatar
from orchestrator.checkpoints import ServedCheckpoints
from orchestrator.offline.render import RenderOptions, RenderReport, render_in_terminal
from orchestrator.settings import Settings, SettingsError
from orchestrator.tasks.parameters import Quality
from orchestrator.triton_secret import triton_settings
from speech.request import GenerationSettings


def render_options(
    settings: Settings, avatar: PreparedAvatar, steps: int | None, guidance: float | None, seed: int
) -> RenderOptions:
    """Options from the command line, or else the settings, or else the avatar's checkpoint.

    Their limits are those of the server's tasks: a server that runs beside a rendering takes a model that computes one
    request for very long for hung, and loads it again. Raises SettingsError beyond them, and AvatarError for an avatar
    whose checkpoint isn't served.
    """
    _within("--steps", steps, "max_steps", settings.max_steps)
    _within("--guidance", guidance, "max_guidance", settings.max_guidance)
    checkpoint = ServedCheckpoints.open(settings).of(avatar)
    quality = Quality.of(checkpoint, steps or settings.default_steps, guidance or settings.default_guidance)
    return RenderOptions(
        steps=quality.steps,
        guidance=quality.guidance,
        seed=seed,
        generation=GenerationSettings(overlap_frames=settings.chunk_overlap_frames),
    )


def _within(option: str, value: float | None, setting: str, most: float) -> None:
    if value is not None and value > most:
        raise SettingsError(f"{option} is {value:g} and may be {most:g} at most; the setting {setting} allows more")


async def render_speech(
    settings: Settings, avatar: PreparedAvatar, audio: Path, output: Path, options: RenderOptions
) -> RenderReport:
    """Render a speech into `output` with a progress bar on stderr; raises what `orchestrator.offline.render` does."""
    async with TritonClient(triton_settings(settings)) as client:
        models = client.drawing_with(avatar.settings.checkpoint)
        return await render_in_terminal(avatar, audio, output, models, options, Console(stderr=True))
