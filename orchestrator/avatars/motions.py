"""The motions of an avatar: added from a video of the same person, listed, renamed, removed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.avatar import AvatarError, Loop, PreparedAvatar
from latentsync.avatar_files import FrameFile
from latentsync.checkpoint import Checkpoint
from latentsync.motions import LIKENESS_FILE, MOTION_FILE, MOTIONS_FOLDER, Motion, MotionSettings, motion_names
from orchestrator.avatars.errors import MotionExists, MotionNotFound, VideoError
from orchestrator.avatars.faces import FaceFinder
from orchestrator.avatars.likeness import differences, ordinary_difference, require_same_person, thumbnails
from orchestrator.avatars.prepare import FaceCoder, PrepareOptions, Progress, prepare_avatar
from orchestrator.avatars.room import DiskRoom
from orchestrator.avatars.store import checked_name
from orchestrator.avatars.tracking import Track

LEAST_FRAMES = 10


@dataclass(frozen=True)
class MotionOptions:
    """A motion of `avatar`: whether it goes round (None: found out), and which frames of its video it is, inclusive."""

    avatar: str
    loop: Loop | None = None
    first: int = 0
    last: int | None = None

    def __post_init__(self) -> None:
        if self.first < 0 or (self.last is not None and self.last - self.first + 1 < LEAST_FRAMES):
            raise AvatarError(
                f"a motion needs at least {LEAST_FRAMES} frames; from frame {self.first} to frame {self.last} are "
                "fewer, or none"
            )


async def add_motion(
    video: Path,
    name: str,
    avatar: PreparedAvatar,
    options: MotionOptions,
    checkpoint: Checkpoint,
    coder: FaceCoder,
    finder: FaceFinder,
    progress: Progress = lambda step, done, total: None,
    room: DiskRoom | None = None,
) -> Motion:
    """Prepare a motion in the folder of its avatar, or open it where the same was made before.

    Its pictures are brought to the avatar's size, and to 25 frames/s. Raises what `prepare_avatar` does, `OtherPerson`,
    and `MotionExists` where the avatar has another motion of that name.
    """
    folder = motion_folder(avatar.directory, name)
    idle_sha256 = avatar.settings.source_sha256
    prepared = PrepareOptions(
        loop=options.loop, size=avatar.frame_size, first=options.first, last=options.last
    )  # fmt: skip

    def examine(written: Path, track: Track, frames: FrameFile) -> None:
        require_no_motion(avatar.directory, name)
        if len(frames) < LEAST_FRAMES:
            raise VideoError(
                f"{video.name} has {len(frames)} different frames at 25 frames/s: a motion needs at least "
                f"{LEAST_FRAMES}"
            )
        require_same_person(name, avatar.name, avatar.landmarks, track.landmarks)
        idle, motion = thumbnails(avatar.frame_file), thumbnails(frames)
        np.save(written / LIKENESS_FILE, differences(idle, motion, avatar.landmarks, track.landmarks))
        MotionSettings(ordinary_difference(idle, motion), idle_sha256).write(written / MOTION_FILE)

    await prepare_avatar(
        video, name, folder.parent, checkpoint, coder, finder, prepared, progress, room=room, examine=examine,
        made_for=idle_sha256,
    )  # fmt: skip
    return Motion.open(avatar, name)


def motion_folder(avatar_dir: Path, name: str) -> Path:
    """Where a motion lies or will lie; raises AvatarError for a name that is not allowed."""
    return avatar_dir / MOTIONS_FOLDER / checked_motion_name(name)


def checked_motion_name(name: str) -> str:
    """The name itself; raises AvatarError for one that is not allowed."""
    try:
        return checked_name(name)
    except AvatarError:
        raise AvatarError(
            f"{name!r} cannot be a motion's name: use a-z, 0-9, '-' and '_', at most 64 of them"
        ) from None


def find_motion(avatar: PreparedAvatar, name: str) -> Motion:
    """One motion; raises MotionNotFound, and AvatarError for one that is damaged."""
    existing_motion(avatar.directory, name)
    return Motion.open(avatar, name)


def list_motions(avatar: PreparedAvatar) -> list[Motion]:
    """The motions that can be opened, by name."""
    found = []
    for name in motion_names(avatar.directory):
        try:
            found.append(Motion.open(avatar, name))
        except AvatarError:
            continue  # `find_motion` tells whoever asks for it by name
    return found


def rename_motion(avatar_dir: Path, name: str, new_name: str) -> None:
    """Give a motion another name; raises MotionNotFound, MotionExists, AvatarError for a bad name."""
    folder = existing_motion(avatar_dir, name)
    require_no_motion(avatar_dir, new_name)
    folder.rename(motion_folder(avatar_dir, new_name))


def remove_motion(avatar_dir: Path, name: str) -> None:
    """Delete a motion; raises MotionNotFound."""
    folder = existing_motion(avatar_dir, name)
    # Renamed first: an interrupted removal leaves no incomplete motion under the name.
    doomed = folder.with_name(f".{name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def require_no_motion(avatar_dir: Path, name: str) -> None:
    """Raises MotionExists where an avatar has a motion of that name; AvatarError for a bad name."""
    if motion_folder(avatar_dir, name).exists():
        raise MotionExists(
            f"avatar {avatar_dir.name!r} has a motion {name!r} already: remove it first, or choose another name"
        )


def existing_motion(avatar_dir: Path, name: str) -> Path:
    """The folder of a motion; raises MotionNotFound."""
    folder = motion_folder(avatar_dir, name)
    if not folder.is_dir():
        names = motion_names(avatar_dir)
        known = f"there is {', '.join(names)}" if names else "it has none yet"
        raise MotionNotFound(f"avatar {avatar_dir.name!r} has no motion {name!r}; {known}")
    return folder
