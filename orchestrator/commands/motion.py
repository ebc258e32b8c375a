"""`avatar motion`: add, list, look at, rename and remove the motions of an avatar."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import DataDir
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit

motion_app = typer.Typer(help="Motions of an avatar: clips that it shows when asked.", no_args_is_help=True)

AvatarOption = Annotated[str, typer.Option("--avatar", help="Name of the avatar.")]
MotionName = Annotated[str, typer.Argument(help="Name of the motion.")]


@motion_app.command(
    "add", epilog="Example: latentsync-realtime avatar motion add wave.mp4 --avatar person --name wave --from-frame 20"
)
def motion_add(
    video: Annotated[
        Path, typer.Argument(help="Video of the same person from the same camera.", exists=True, dir_okay=False)
    ],
    avatar: AvatarOption,
    name: Annotated[str, typer.Option(help="Name for the motion: a-z, 0-9, - and _.")],
    loop: Annotated[
        bool | None, typer.Option(help="Whether the clip's end leads on to its beginning; else found out.")
    ] = None,
    from_frame: Annotated[int, typer.Option(min=0, help="First frame of the video, at 25 a second.")] = 0,
    to_frame: Annotated[int | None, typer.Option(min=0, help="Last frame; else the video's own.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Prepare a motion from a video, through the Triton that is running."""
    settings = settings_or_exit(data_dir=data_dir)
    from rich.console import Console

    from latentsync.avatar import Loop
    from orchestrator.avatars.adding import add_motion_in_terminal, motion_summary
    from orchestrator.avatars.motions import MotionOptions
    from orchestrator.exclusive import changing_avatar

    with errors_as_sentences(), changing_avatar(settings, avatar):
        repeats = None if loop is None else Loop.CYCLE if loop else Loop.PINGPONG
        options = MotionOptions(avatar, repeats, from_frame, to_frame)
        began = time.monotonic()
        motion = asyncio.run(add_motion_in_terminal(settings, video, name, options, Console(stderr=True)))
        typer.echo(motion_summary(motion, time.monotonic() - began))


@motion_app.command("list")
def motion_list(avatar: AvatarOption, data_dir: DataDir = None) -> None:
    """List the motions of an avatar."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.avatars.motions import list_motions
    from orchestrator.avatars.store import find_avatar

    with errors_as_sentences():
        for motion in list_motions(find_avatar(settings.avatars_dir, avatar)):
            typer.echo(f"{motion.name}\t{motion.clip.frame_count} frames\t{motion.clip.settings.loop.value}")


@motion_app.command("preview")
def motion_preview(
    name: MotionName,
    avatar: AvatarOption,
    output: Annotated[Path, typer.Option(help="Picture to write, .png or .jpg.", dir_okay=False)],
    frame: Annotated[int | None, typer.Option(min=0, help="Frame of the motion; else the middle one.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write a picture that shows landmarks, face crop and mask on a frame of a motion."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.avatars.adding import write_overlay
    from orchestrator.avatars.motions import find_motion
    from orchestrator.avatars.store import find_avatar

    with errors_as_sentences():
        clip = find_motion(find_avatar(settings.avatars_dir, avatar), name).clip
        write_overlay(clip, clip.frame_count // 2 if frame is None else frame, output)


@motion_app.command("rename")
def motion_rename(
    name: MotionName,
    new_name: Annotated[str, typer.Argument(help="Its new name: a-z, 0-9, - and _.")],
    avatar: AvatarOption,
    data_dir: DataDir = None,
) -> None:
    """Give a motion another name."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.avatars.motions import rename_motion
    from orchestrator.avatars.store import existing_avatar
    from orchestrator.exclusive import changing_avatar

    with errors_as_sentences(), changing_avatar(settings, avatar):
        rename_motion(existing_avatar(settings.avatars_dir, avatar), name, new_name)


@motion_app.command("remove")
def motion_remove(name: MotionName, avatar: AvatarOption, data_dir: DataDir = None) -> None:
    """Delete a motion; its video stays where it came from."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.avatars.motions import remove_motion
    from orchestrator.avatars.store import existing_avatar
    from orchestrator.exclusive import changing_avatar

    with errors_as_sentences(), changing_avatar(settings, avatar):
        remove_motion(existing_avatar(settings.avatars_dir, avatar), name)
