"""`avatar`: prepare, list, look at, rename and remove avatars."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.avatar_create import avatar_create
from orchestrator.commands.motion import motion_app
from orchestrator.commands.options import CheckpointName, DataDir, PreparedAvatar
from orchestrator.commands.terminal import errors_as_sentences, fail, settings_or_exit

avatar_app = typer.Typer(help="Avatars: prepare, list and remove them.", no_args_is_help=True)
avatar_app.command(
    "create",
    epilog="Examples: latentsync-realtime avatar create --preset mei; "
    "latentsync-realtime avatar create --image person.png --name person --prompt 'a man listens'",
)(avatar_create)
avatar_app.add_typer(motion_app, name="motion")


@avatar_app.command("add", epilog="Example: latentsync-realtime avatar add person.mp4 --name person --max-height 1080")
def avatar_add(
    video: Annotated[
        Path, typer.Argument(help="Video of a person who looks at the camera.", exists=True, dir_okay=False)
    ],
    name: Annotated[str, typer.Option(help="Name for the avatar: a-z, 0-9, - and _.")],
    idle: Annotated[
        Path | None, typer.Option(help="Another clip to play while nobody speaks.", exists=True, dir_okay=False)
    ] = None,
    face: Annotated[
        str | None,
        typer.Option(help="Which of several faces: X,Y as shares of width and height, as 0.3,0.4; else the largest."),
    ] = None,
    max_height: Annotated[
        int | None, typer.Option(min=64, help="Scale down to this height in pixels; else as it is.")
    ] = None,
    loop: Annotated[str | None, typer.Option(help="cycle or pingpong: how the clip repeats; else found out.")] = None,
    checkpoint: CheckpointName = None,
    data_dir: DataDir = None,
) -> None:
    """Prepare an avatar from a video, through the Triton that is running."""
    settings = settings_or_exit(data_dir=data_dir)
    from rich.console import Console

    from latentsync.avatar import Loop
    from orchestrator.avatars.adding import add_avatar_in_terminal, face_point, foreseen, summary
    from orchestrator.avatars.prepare import PrepareOptions
    from orchestrator.encoder_costs import EncoderCosts
    from orchestrator.exclusive import changing_avatar

    with errors_as_sentences():
        try:
            repeats = Loop(loop) if loop else None
        except ValueError:
            fail(f"--loop is {loop!r} and must be cycle or pingpong")
        options = PrepareOptions(
            max_height=max_height, loop=repeats, face_at=face_point(face), idle=idle, checkpoint=checkpoint
        )
        with changing_avatar(settings, name):
            for line in foreseen(settings, video, options):
                typer.echo(line, err=True)
            began = time.monotonic()
            avatar = asyncio.run(add_avatar_in_terminal(settings, video, name, options, Console(stderr=True)))
    typer.echo(summary(avatar, time.monotonic() - began))
    if (cost := EncoderCosts(settings).measure()) is not None:
        typer.echo(cost.sentence(settings.x264_preset, avatar.frame_size))


@avatar_app.command("list")
def avatar_list(data_dir: DataDir = None) -> None:
    """List the prepared avatars."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.avatars.fit import fit_warning
    from orchestrator.avatars.store import list_avatars

    for avatar in list_avatars(settings.avatars_dir):
        width, height = avatar.frame_size
        fit = "" if (fit_db := avatar.settings.fit_db) is None else f"\tfit {fit_db:g} dB"
        warned = "" if fit_warning(avatar.settings) is None else "\ttoo low: its mouth will look spoiled"
        size = f"{width}×{height}\t{avatar.frame_count} frames\tfaces of {avatar.resolution}"
        if (checkpoint := avatar.settings.checkpoint) is not None:
            size += f" by {checkpoint}"
        typer.echo(f"{avatar.name}\t{size}{fit}{warned}")


@avatar_app.command("preview")
def avatar_preview(
    name: PreparedAvatar,
    output: Annotated[Path, typer.Option(help="Picture to write, .png or .jpg.", dir_okay=False)],
    frame: Annotated[int | None, typer.Option(min=0, help="Frame of the clip; else the first that can speak.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write a picture that shows landmarks, face crop and mask on a frame."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.avatars.adding import write_preview

    with errors_as_sentences():
        write_preview(settings, name, frame, output)


@avatar_app.command("rename")
def avatar_rename(
    name: PreparedAvatar,
    new_name: Annotated[str, typer.Argument(help="Its new name: a-z, 0-9, - and _.")],
    data_dir: DataDir = None,
) -> None:
    """Give a prepared avatar another name."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.avatars.store import rename_avatar
    from orchestrator.exclusive import renaming_avatar

    with errors_as_sentences(), renaming_avatar(settings, name, new_name):
        rename_avatar(settings.avatars_dir, name, new_name)


@avatar_app.command("remove")
def avatar_remove(name: PreparedAvatar, data_dir: DataDir = None) -> None:
    """Delete a prepared avatar; its video stays where it came from."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.avatars.store import remove_avatar
    from orchestrator.exclusive import moving_avatar

    with errors_as_sentences(), moving_avatar(settings, name):
        remove_avatar(settings.avatars_dir, name)
