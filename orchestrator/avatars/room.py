"""How much of the disk an avatar may take: its frames lie there uncompressed, and a small video may become large."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.avatars.errors import AvatarTooLarge, NoRoomForAvatar
from orchestrator.avatars.video import VideoInfo

_CHANNELS = 3


@dataclass(frozen=True)
class DiskRoom:
    """The most that one avatar may take, and what stays free for everything else that the disk holds."""

    limit_bytes: int = 12_000_000_000
    reserve_bytes: int = 1_000_000_000

    def require(self, folder: Path, written_bytes: int, coming_bytes: int) -> None:
        """Raises AvatarTooLarge or NoRoomForAvatar unless `coming_bytes` may be added to the `written_bytes` so far."""
        if written_bytes + coming_bytes > self.limit_bytes:
            raise AvatarTooLarge(
                f"the avatar's frames take more than {self.limit_bytes / 1e9:g} GB uncompressed: shorten the clip, or "
                "make it smaller with max_height"
            )
        free = free_bytes(folder)
        if free - coming_bytes < self.reserve_bytes:
            raise NoRoomForAvatar(
                f"the avatar needs {coming_bytes / 1e9:.3g} GB more, and the disk has {free / 1e9:.3g} GB, of which "
                f"{self.reserve_bytes / 1e9:g} GB stay free: free some space, shorten the clip, or make it smaller "
                "with max_height"
            )


def free_bytes(folder: Path) -> int:
    """Free space of the disk on which a folder lies, or will lie; raises OSError."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return shutil.disk_usage(there).free


def expected_bytes(
    clip: VideoInfo, idle: VideoInfo | None = None, max_frames: int = 1, max_height: int | None = None
) -> int:
    """What the frames of a clip, and of its idle clip in the same size, take by what the files say of themselves.

    A file may lie, or not know its length, which counts as one frame: each frame is counted when it is decoded.
    """
    if clip.size is None:
        return 0
    width, height = clip.size
    # A rotation in the metadata swaps the sides, and `max_height` is that of the upright picture.
    scale = 1.0 if max_height is None else min(1.0, max_height / min(width, height))
    frames = sum(min(info.frame_count or 1, max_frames) for info in (clip, idle) if info is not None)
    return int(frames * (width * scale) * (height * scale) * _CHANNELS)
