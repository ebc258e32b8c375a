"""A small avatar drawn by the test: a grey ground on which a bar moves, so that every frame differs."""

import json
from pathlib import Path

import numpy as np

from latentsync.avatar import Loop, PreparedAvatar

WIDTH, HEIGHT, FRAMES = 160, 192, 50


def write_avatar(avatars_dir: Path, name: str = "demo", resolution: int = 128) -> PreparedAvatar:
    """Writes avatars_dir/name: two seconds, a face in the middle, zero condition."""
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 90, np.uint8)
    for index, frame in enumerate(frames):
        frame[:8, index * 3 : index * 3 + 6] = 255
    scale = resolution / 96
    matrix = np.array([[scale, 0, -32 * scale], [0, scale, -48 * scale]])
    side = resolution // 8
    return PreparedAvatar.create(
        avatars_dir / name,
        name=name,
        frames=frames,
        matrices=np.repeat(matrix[None], FRAMES, axis=0),
        condition=np.zeros((FRAMES, 9, side, side), np.float16),
        loop=Loop.PINGPONG,
        source_sha256="0" * 64,
    )


def write_avatar_of(checkpoint: str | None, avatars_dir: Path, name: str, resolution: int = 128) -> PreparedAvatar:
    """The same, prepared for the checkpoint of that name; None: by an older version, which noted none."""
    path = write_avatar(avatars_dir, name, resolution).directory / "avatar.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"checkpoint": checkpoint}))
    return PreparedAvatar.open(path.parent)
