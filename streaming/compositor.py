"""Makes the picture of one frame: the avatar's, with the spoken face pasted in where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.avatar import PreparedAvatar


class Compositor:
    """Holds an avatar's frames, memory-mapped, and pastes faces into copies of them."""

    def __init__(self, avatar: PreparedAvatar) -> None:
        self._avatar = avatar
        self._paste_back = avatar.paste_back()

    @classmethod
    def open(cls, avatar_dir: Path) -> Compositor:
        """Opens a prepared avatar; raises AvatarError when it is missing or damaged."""
        return cls(PreparedAvatar.open(avatar_dir))

    @property
    def width(self) -> int:
        """Picture width in pixels."""
        return self._avatar.frame_size[0]

    @property
    def height(self) -> int:
        """Picture height in pixels."""
        return self._avatar.frame_size[1]

    @property
    def resolution(self) -> int:
        """Edge of a face crop in pixels."""
        return self._avatar.resolution

    @property
    def period(self) -> int:
        """Positions after which the avatar's path repeats."""
        return self._avatar.period

    def idle(self, position: int) -> NDArray[np.uint8]:
        """The plain avatar at `position`: uint8 [H, W, 3], a read-only view of the file."""
        picture: NDArray[np.uint8] = self._avatar.frame(self._avatar.frame_index(position))
        return picture

    def speaking(
        self, position: int, face: NDArray[np.uint8], opacity: float, out: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """The avatar at `position` with a face uint8 [R, R, 3] blended in, written to and returned as `out`."""
        index = self._avatar.frame_index(position)
        np.copyto(out, self._avatar.frame(index))
        self._paste_back.paste(out, face, index, opacity)
        return out
