"""What `avatar add` and `demo` do: a video made into an avatar, through the Triton that is running; and `preview`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from inference.client import TritonClient
from latentsync.avatar import AvatarError, PreparedAvatar
from latentsync.landmarks import FaceLandmarker
from latentsync.motions import Motion
from orchestrator.avatars.errors import named_frames
from orchestrator.avatars.fit import fit_warning
from orchestrator.avatars.made_for import unfitting
from orchestrator.avatars.motions import MotionOptions, add_motion
from orchestrator.avatars.overlay import overlay
from orchestrator.avatars.prepare import PrepareOptions, Progress, Step, prepare_avatar
from orchestrator.avatars.room import DiskRoom, expected_bytes, free_bytes
from orchestrator.avatars.store import find_avatar
from orchestrator.avatars.video import video_info
from orchestrator.checkpoints import ServedCheckpoints
from orchestrator.settings import Settings
from orchestrator.triton_secret import triton_settings

_PICTURES = (".png", ".jpg")
_FAR = 6.0  # times an ordinary step: more than the longest crossfade can hide


async def add_avatar(
    settings: Settings,
    video: Path,
    name: str,
    options: PrepareOptions | None = None,
    progress: Progress = lambda step, done, total: None,
) -> PreparedAvatar:
    """Prepare an avatar from a video, for the checkpoint that the options name or the video chooses.

    The same one is prepared once. Raises AvatarError, CheckpointError, SettingsError, InferenceError.
    """
    options = options or PrepareOptions()
    checkpoint = ServedCheckpoints.open(settings).choose(video, options.checkpoint)
    finder = FaceLandmarker(settings.checkpoint_dir.parent / "face")
    room = DiskRoom(settings.avatar_limit_bytes, settings.avatar_reserve_bytes)
    async with TritonClient(triton_settings(settings)) as client:
        coder = client.drawing_with(checkpoint.name)
        return await prepare_avatar(
            video, name, settings.avatars_dir, checkpoint, coder, finder, options, progress, room=room
        )


async def add_avatar_in_terminal(
    settings: Settings, video: Path, name: str, options: PrepareOptions, console: Console
) -> PreparedAvatar:
    """`add_avatar` with a bar for each step."""
    with _progress_bars(console) as progress:
        return await add_avatar(settings, video, name, options, progress)


async def add_motion_of(
    settings: Settings,
    video: Path,
    name: str,
    options: MotionOptions,
    progress: Progress = lambda step, done, total: None,
) -> Motion:
    """Prepare a motion from a video, for its avatar's checkpoint.

    Raises AvatarError, CheckpointError, SettingsError, InferenceError.
    """
    avatar = find_avatar(settings.avatars_dir, options.avatar)
    checkpoint = ServedCheckpoints.open(settings).of(avatar)
    finder = FaceLandmarker(settings.checkpoint_dir.parent / "face")
    room = DiskRoom(settings.avatar_limit_bytes, settings.avatar_reserve_bytes)
    async with TritonClient(triton_settings(settings)) as client:
        coder = client.drawing_with(checkpoint.name)
        return await add_motion(video, name, avatar, options, checkpoint, coder, finder, progress, room)


async def add_motion_in_terminal(
    settings: Settings, video: Path, name: str, options: MotionOptions, console: Console
) -> Motion:
    """`add_motion_of` with a bar for each step."""
    with _progress_bars(console) as progress:
        return await add_motion_of(settings, video, name, options, progress)


@contextmanager
def _progress_bars(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[Step, TaskID] = {}
    with Bars(*columns, console=console) as bars:

        def progress(step: Step, done: int, total: int | None) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step.value, total=total)
            # A header's frame count is an estimate; the bar must not end before the work.
            bars.update(tasks[step], completed=done, total=None if total is None else max(done, total))

        yield progress


def foreseen(settings: Settings, video: Path, options: PrepareOptions) -> list[str]:
    """What there is to say before minutes of preparing: how much disk it takes, who draws it, and whether that fits.

    Raises VideoError, UnknownCheckpoint, CheckpointError and SettingsError.
    """
    idle = None if options.idle is None else video_info(options.idle)
    needed = expected_bytes(video_info(video), idle, options.max_frames, options.max_height)
    free = free_bytes(settings.avatars_dir)
    lines = [f"its frames will take about {needed / 1e9:.2g} GB of the disk, which has {free / 1e9:.3g} GB free"]
    served = ServedCheckpoints.open(settings)
    checkpoint = served.choose(video, options.checkpoint)
    if len(served.all) > 1:
        lines.append(f"of {served.names}, the checkpoint {checkpoint.name!r} will draw it")
    warning = unfitting(checkpoint, video)
    return lines if warning is None else [*lines, f"WARNING: {warning}"]


def summary(avatar: PreparedAvatar, took_s: float) -> str:
    """What was made, what it took and how it fits; further lines name silent frames, and warn of a spoiled mouth."""
    size = "×".join(map(str, avatar.frame_size))
    used = sum(file.stat().st_size for file in avatar.directory.rglob("*") if file.is_file())
    line = f"{avatar.directory}: {avatar.frame_count} frames of {size}, {avatar.settings.loop.value}"
    line += f", {used / 1e9:.2g} GB, in {took_s:.0f} s"
    if avatar.idle is not None:
        line += f", idle clip of {avatar.idle.settings.frame_count} frames"
    if (fit_db := avatar.settings.fit_db) is not None:
        line += f", mouth through the checkpoint's VAE {fit_db:g} dB"
    silent = [frame for frame, speaks in enumerate(avatar.speakable.tolist()) if not speaks]
    if silent:
        line += (
            f"\nno usable face on frames {named_frames(silent)}: "
            f"frames {avatar.played.start}–{avatar.played.stop - 1} play, forwards and back"
        )
    if (warning := fit_warning(avatar.settings)) is not None:
        line += f"\nWARNING: {warning}"
    return line


def motion_summary(motion: Motion, took_s: float) -> str:
    """What was made, what it took, and how well it fits the idle clip."""
    line = summary(motion.clip, took_s)
    nearest = float(motion.difference[:, list(motion.clip.played)].min())
    ordinary = motion.settings.ordinary
    line += f"\nwhere it resembles the idle clip most it differs by {nearest:.2g} grey levels; "
    line += f"neighbouring frames differ by {ordinary:.2g}"
    if nearest > _FAR * ordinary:
        line += ": the crossfade will be seen, record it with the same light and from the same place"
    return line


def write_preview(settings: Settings, name: str, frame: int | None, output: Path) -> None:
    """Write the overlay picture of an avatar's frame (None: the first that can speak); raises AvatarError."""
    avatar = find_avatar(settings.avatars_dir, name)
    write_overlay(avatar, int(avatar.speakable.argmax()) if frame is None else frame, output)


def write_overlay(avatar: PreparedAvatar, index: int, output: Path) -> None:
    """Write the overlay picture of a frame; raises AvatarError."""
    if not output.parent.is_dir():
        raise AvatarError(f"{output.parent}: there is no such folder")
    if output.suffix.lower() not in _PICTURES:
        raise AvatarError(f"{output} must end with {' or '.join(_PICTURES)}")
    if not cv2.imwrite(str(output), cv2.cvtColor(overlay(avatar, index), cv2.COLOR_RGB2BGR)):
        raise AvatarError(f"{output} can't be written: look at its folder's permissions and at the disk's free space")


def face_point(text: str | None) -> tuple[float, float] | None:
    """A face named as "X,Y", shares of width and height from the top left; raises AvatarError."""
    if text is None:
        return None
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = -1.0
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise AvatarError(f"the face is {text!r} and must be two shares of width and height, such as 0.25,0.4")
    return x, y
