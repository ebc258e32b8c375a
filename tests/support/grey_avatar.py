"""A synthetic avatar whose brightness tells the frame, and motions whose colour tells them from it."""

from pathlib import Path

import numpy as np

from latentsync.avatar import AvatarSettings, Loop, PreparedAvatar
from latentsync.avatar_writer import AvatarWriter
from latentsync.motions import LIKENESS_FILE, MOTION_FILE, MOTIONS_FOLDER, Motion, MotionSettings

RESOLUTION = 128


def make_avatar(folder: Path, width: int, height: int, frames: int, loop: Loop = Loop.CYCLE) -> PreparedAvatar:
    """A grey gradient whose brightness tells the frame; the face is a square of 128 pixels that walks."""
    gradient = np.linspace(30, 90, width, dtype=np.uint8)[None, :, None]
    pictures = (np.broadcast_to(gradient + np.uint8(i), (height, width, 3)).copy() for i in range(frames))
    matrices = np.tile(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), (frames, 1, 1))
    matrices[:, 0, 2] = -(width // 2 - RESOLUTION // 2) - np.arange(frames) % 8
    matrices[:, 1, 2] = -(height // 2 - RESOLUTION // 2)
    condition = np.zeros((frames, 9, RESOLUTION // 8, RESOLUTION // 8), np.float16)
    return PreparedAvatar.create(
        folder, name=folder.name, frames=pictures, matrices=matrices, condition=condition, loop=loop, source_sha256=""
    )


def add_motion(avatar: PreparedAvatar, name: str, frames: int, red: int = 200, like: int = 0) -> Motion:
    """A motion whose red is `red` everywhere; its ends resemble idle frame `like`, and nothing else does."""
    width, height = avatar.frame_size
    pictures = np.zeros((frames, height, width, 3), np.uint8)
    pictures[..., 0] = red
    pictures[..., 1] = np.arange(frames)[:, None, None]
    folder = avatar.directory / MOTIONS_FOLDER / name
    with AvatarWriter(folder) as writer:
        file = writer.frames()
        for picture in pictures:
            file.add(picture)
        file.close()
        settings = AvatarSettings(name, *file.size, frames, RESOLUTION, Loop.PINGPONG, "")
        condition = np.ones((frames, 9, RESOLUTION // 8, RESOLUTION // 8), np.float16)
        writer.finish(settings, pictures[0], avatar.matrices[:1].repeat(frames, axis=0), condition)
        MotionSettings(1.0, avatar.settings.source_sha256).write(writer.folder / MOTION_FILE)
        difference = np.full((avatar.frame_count, frames), 20, np.float32)
        difference[like, [0, frames - 1]] = 0
        np.save(writer.folder / LIKENESS_FILE, difference)
        writer.publish()
    return Motion.open(avatar, name)
