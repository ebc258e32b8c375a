"""Makes the picture of one frame: the avatar's or the idle clip's, with the spoken face where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from latentsync.avatar import PreparedAvatar
from latentsync.clip_path import IDLE, Shown
from latentsync.paste_back import PasteBack
from streaming.meeting import crossfaded
from streaming.motions import ChannelMotions


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

    def __init__(
        self, avatar: PreparedAvatar, idle: IdleClip | None = None, motions: ChannelMotions | None = None
    ) -> None:
        """`motions` is given where the avatar has any: their path says what each position shows."""
        self._avatar = avatar
        self._paste_back = avatar.paste_back()
        self._idle = idle
        self._path = None if motions is None else motions.path
        self._clips: dict[str, tuple[PreparedAvatar, PasteBack]] = {IDLE: (avatar, self._paste_back)}
        if motions is not None:
            for name, motion in motions.motions.items():
                self.add(name, motion.clip)

    def add(self, name: str, clip: PreparedAvatar) -> None:
        """A motion that the path may show from now on."""
        self._clips[name] = clip, clip.paste_back()

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

        The avatar at `position`, or the idle clip, which goes on with each frame of the channel, `tick`; or a motion.
        """
        if self._path is None:
            return self._idle_picture(IDLE, self._avatar.frame_index(position), tick)
        shown = self._path.at(position)
        if not shown.other_share:
            return self._idle_picture(shown.clip, shown.frame, tick)
        main = self._idle_picture(shown.clip, shown.frame, tick)
        other = self._idle_picture(shown.other_clip, shown.other_frame, tick)
        return self._crossfaded(shown, main, other, is_avatar=self._idle is None)

    def speaking(
        self, position: int, tick: int, face: NDArray[np.uint8], opacity: float, out: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """The avatar at `position` with a face uint8 [R, R, 3] blended in, written to and returned as `out`.

        In the crossfade of a switch the face is pasted into both pictures, each where it has its own, and the heads
        meet: the lips stay as they are while the body fades.
        """
        mouth = opacity if self._idle is None else 1.0
        if self._path is None:
            self._paste(out, IDLE, self._avatar.frame_index(position), face, mouth)
        else:
            shown = self._path.at(position)
            self._paste(out, shown.clip, shown.frame, face, mouth)
            if shown.other_share:
                other = np.empty_like(out)
                self._paste(other, shown.other_clip, shown.other_frame, face, mouth)
                np.copyto(out, self._crossfaded(shown, out, other, is_avatar=True))
        if self._idle is not None and opacity < 1:
            cv2.addWeighted(out, opacity, self.idle(position, tick), 1 - opacity, 0, dst=out)
        return out

    def _crossfaded(
        self, shown: Shown, main: NDArray[np.uint8], other: NDArray[np.uint8], is_avatar: bool
    ) -> NDArray[np.uint8]:
        """Both pictures of a switch; `is_avatar` says that idle's is the avatar's, whose landmarks are known."""
        points = []
        for clip, frame in ((shown.clip, shown.frame), (shown.other_clip, shown.other_frame)):
            landmarks = self._clips[clip][0].landmarks if is_avatar or clip != IDLE else None
            points.append(None if landmarks is None else landmarks[frame].astype(np.float64))
        return crossfaded(main, other, shown.other_share, *points)

    def _paste(self, out: NDArray[np.uint8], clip: str, index: int, face: NDArray[np.uint8], opacity: float) -> None:
        avatar, paste_back = self._clips[clip]
        np.copyto(out, avatar.frame(index))
        paste_back.paste(out, face, index, opacity)

    def _idle_picture(self, clip: str, index: int, tick: int) -> NDArray[np.uint8]:
        """A frame without a face; where idle has a clip of its own, that one's."""
        if clip == IDLE and self._idle is not None:
            return fitted(self._idle.frames[self._idle.frame_index(tick)], (self.width, self.height))
        picture: NDArray[np.uint8] = self._clips[clip][0].frame(index)
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
