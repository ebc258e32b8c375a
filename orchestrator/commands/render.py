"""`render`: a speech as an mp4."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import Audio, AvatarName, DataDir, Guidance, Steps
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit


def _mp4(output: Path) -> Path:
    if output.suffix.lower() != ".mp4":
        named = output.with_suffix(".mp4") if output.suffix else Path(f"{output}.mp4")
        raise typer.BadParameter(f"{output} must end with .mp4, the only kind of file that is written, as {named}")
    return output


def render(
    audio: Audio,
    output: Annotated[Path, typer.Option(help="The file to write, .mp4.", dir_okay=False, callback=_mp4)],
    avatar: AvatarName = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise; the same gives the same faces.")] = 0,
    data_dir: DataDir = None,
) -> None:
    """Render a speech into an mp4, through the Triton that is running."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.avatars.store import find_avatar
    from orchestrator.offline.settings import render_options, render_speech

    with errors_as_sentences():
        prepared = find_avatar(settings.avatars_dir, avatar or settings.avatar)
        options = render_options(settings, prepared, steps, guidance, seed)
        report = asyncio.run(render_speech(settings, prepared, audio, output, options))
    typer.echo(f"{output}: {report.frames} frames in {report.elapsed_s:.1f} s")
