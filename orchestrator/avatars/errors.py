"""Why a video cannot become an avatar."""

from __future__ import annotations

from typing import ClassVar

from latentsync.avatar import AvatarError

_NAMED_FRAMES = 8


class VideoError(AvatarError):
    """The file is no video that can be used; the message says what to do."""

    code: ClassVar[str] = "bad_video"


class AvatarNotFound(AvatarError):
    """There is no avatar of that name."""

    code: ClassVar[str] = "unknown_avatar"


class NoFace(AvatarError):
    """No face was found in some frames; `frames` numbers them from 0 at 25 frames/s."""

    code: ClassVar[str] = "no_face"

    def __init__(self, frames: list[int], total: int) -> None:
        named = ", ".join(str(frame) for frame in frames[:_NAMED_FRAMES])
        more = f" and {len(frames) - _NAMED_FRAMES} more" if len(frames) > _NAMED_FRAMES else ""
        super().__init__(
            f"no face was found in {len(frames)} of {total} frames (at 25 frames/s: {named}{more}). "
            "Use a clip in which one face looks at the camera from the first frame to the last."
        )
        self.frames = frames
