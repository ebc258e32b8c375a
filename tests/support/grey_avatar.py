"""A synthetic avatar whose brightness tells the frame."""

from pathlib import Path

import numpy as np

from latentsync.avatar import Loop, PreparedAvatar

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
