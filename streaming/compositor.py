"""Makes the picture of one frame: the avatar's or the idle clip's, with the spoken face where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from latentsync.avatar import PreparedAvatar


class Frames(Protocol):
    """Pictures uint8 [H, W, 3] by number; all of one size."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]: ...


class IdleClip(Protocol):
    """A clip of its own that plays at 25 frames/s while nobody speaks."""

    @property
    def frames(self) -> Frames:
        """Its pictures, of any size."""
        ...

    def frame_index(self, position: int) -> int:
        """The frame at a position of its unbounded path."""
        ...


class Compositor:
    """Holds an avatar's frames, memory-mapped, and pastes faces into copies of them.

    Without an idle clip the avatar's own frames are what idle shows, and a fade blends the mouth alone. With one the
    body of idle and the body of speech are different pictures, and a fade blends them whole.
    """

    def __init__(self, avatar: PreparedAvatar, idle: IdleClip | None = None) -> None:
        self._avatar = avatar
        self._paste_back = avatar.paste_back()
        self._idle = idle

    @classmethod
    def open(cls, avatar_dir: Path) -> Compositor:
        """Opens a prepared avatar, with its idle clip where it has one; raises AvatarError when it can't be read."""
        avatar = PreparedAvatar.open(avatar_dir)
        return cls(avatar, avatar.idle)

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

    @property
    def idle_is_the_avatar(self) -> bool:
        """True when idle and speech show the same body."""
        return self._idle is None

    def idle(self, position: int, tick: int) -> NDArray[np.uint8]:
        """What is shown while nobody speaks: uint8 [H, W, 3], not to be written to.

        The avatar at `position`, or the idle clip, which goes on with each frame of the channel, `tick`.
        """
        if self._idle is None:
            return self._frame(self._avatar.frame_index(position))
        picture = self._idle.frames[self._idle.frame_index(tick)]
        return fitted(picture, (self.width, self.height))

    def speaking(
        self, position: int, tick: int, face: NDArray[np.uint8], opacity: float, out: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """The avatar at `position` with a face uint8 [R, R, 3] blended in, written to and returned as `out`."""
        index = self._avatar.frame_index(position)
        np.copyto(out, self._frame(index))
        if self._idle is None:
            self._paste_back.paste(out, face, index, opacity)
            return out
        self._paste_back.paste(out, face, index)
        if opacity < 1:
            cv2.addWeighted(out, opacity, self.idle(position, tick), 1 - opacity, 0, dst=out)
        return out

    def _frame(self, index: int) -> NDArray[np.uint8]:
        picture: NDArray[np.uint8] = self._avatar.frame(index)
        return picture


def fitted(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture brought to (width, height) without distortion: scaled until it covers them, and cut evenly."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    scale = max(size[0] / width, size[1] / height)
    scaled = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)
    left, top = (scaled.shape[1] - size[0]) // 2, (scaled.shape[0] - size[1]) // 2
    return np.ascontiguousarray(scaled[top : top + size[1], left : left + size[0]], dtype=np.uint8)
