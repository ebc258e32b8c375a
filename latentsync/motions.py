"""The motions of a prepared avatar: clips of the same person beside the idle one, each with an index of likeness."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.avatar import AvatarError, PreparedAvatar
from latentsync.clip_path import IDLE, ClipPath
from latentsync.switching import MotionClip, SwitchPlanner

MOTIONS_FOLDER = "motions"
LIKENESS_FILE = "likeness.npy"
MOTION_FILE = "motion.json"
FORMAT_VERSION = 1

logger = logging.getLogger(__name__)

_IDLE_CLIP_FADE = 5
"""Least frames of a crossfade where idle shows a clip of its own, whose pictures are in no index."""


@dataclass(frozen=True)
class MotionSettings:
    """What `motion.json` holds.

    `ordinary` is how much neighbouring frames differ, in grey levels; `idle_sha256` names the avatar whose frames the
    index compares.
    """

    ordinary: float
    idle_sha256: str
    version: int = FORMAT_VERSION

    @classmethod
    def read(cls, path: Path) -> MotionSettings:
        """Reads `motion.json`; raises AvatarError when it is missing, damaged, or of another version."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values.get("version") != FORMAT_VERSION:
                raise AvatarError(f"{path} is of version {values.get('version')}, this program reads {FORMAT_VERSION}")
            return cls(**{name: values[name] for name in (field.name for field in fields(cls))})
        except AvatarError:
            raise
        except OSError as error:
            raise AvatarError(f"{path} can't be read ({error.strerror})") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise AvatarError(f"{path} is damaged: {error}") from error

    def write(self, path: Path) -> None:
        """The inverse of `read`."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Motion:
    """A motion that is ready to play: a prepared clip, memory-mapped, and how it resembles the avatar's idle frames."""

    clip: PreparedAvatar
    settings: MotionSettings
    difference: NDArray[np.float32]  # [I, M]: idle frame i against the motion's frame m, in grey levels

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.clip.name

    @classmethod
    def open(cls, avatar: PreparedAvatar, name: str) -> Motion:
        """Opens a motion of an avatar; raises AvatarError when it is missing, damaged, or does not fit the avatar."""
        folder = avatar.directory / MOTIONS_FOLDER / name
        clip = PreparedAvatar.open(folder)
        settings = MotionSettings.read(folder / MOTION_FILE)
        if (clip.frame_size, clip.resolution) != (avatar.frame_size, avatar.resolution):
            raise AvatarError(
                f"motion {name!r} has pictures of {clip.frame_size} and faces of {clip.resolution}, and avatar "
                f"{avatar.name!r} {avatar.frame_size} and {avatar.resolution}: add the motion again"
            )
        if settings.idle_sha256 != avatar.settings.source_sha256:
            raise AvatarError(f"motion {name!r} was prepared for another video of avatar {avatar.name!r}: add it again")
        path, shape = folder / LIKENESS_FILE, (avatar.frame_count, clip.frame_count)
        try:
            difference = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise AvatarError(f"{path} can't be read: {error}") from error
        if difference.shape != shape or difference.dtype != np.float32:
            raise AvatarError(f"{path} must hold float32 {shape}; it has {difference.dtype} {difference.shape}")
        return cls(clip, settings, difference)

    def with_own_condition(self) -> Motion:
        """The same with the condition in memory, as `PreparedAvatar.with_own_condition`."""
        return replace(self, clip=self.clip.with_own_condition())

    def for_planning(self) -> MotionClip:
        """What the planner of switches needs of it."""
        return MotionClip(self.clip.frame_index, len(self.clip.played), self.difference, self.settings.ordinary)


def motion_names(avatar_dir: Path) -> list[str]:
    """Names of the motions of the avatar in a folder, also of those that can't be opened."""
    folder = avatar_dir / MOTIONS_FOLDER
    return sorted(path.name for path in folder.iterdir() if _is_motion(path)) if folder.is_dir() else []


def open_motions(avatar: PreparedAvatar) -> dict[str, Motion]:
    """The motions of an avatar by their names; one that can't be played is logged, and the others play."""
    found = {}
    for name in motion_names(avatar.directory):
        try:
            found[name] = Motion.open(avatar, name)
        except AvatarError as error:
            logger.error("motion %s of avatar %s is left out: %s", name, avatar.name, error)
    return found


def clip_path(avatar: PreparedAvatar, motions: dict[str, Motion]) -> ClipPath:
    """The path of a channel that begins: idle everywhere."""
    return ClipPath({IDLE: avatar.frame_index, **{name: motion.clip.frame_index for name, motion in motions.items()}})


def switch_planner(avatar: PreparedAvatar, motions: dict[str, Motion], path: ClipPath) -> SwitchPlanner:
    """What decides the detours of a path of this avatar."""
    planned = {name: motion.for_planning() for name, motion in motions.items()}
    least_fade = 1 if avatar.idle is None else _IDLE_CLIP_FADE
    return SwitchPlanner(path, avatar.frame_index, avatar.period, planned, least_fade)


def _is_motion(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")
