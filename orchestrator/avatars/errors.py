"""Why a video cannot become an avatar."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from latentsync.avatar import AvatarError
from latentsync.avatar_files import DiskFull

_NAMED_RANGES = 8


class VideoError(AvatarError):
    """The file is no video that can be used; the message says what to do."""

    code: ClassVar[str] = "bad_video"


class AvatarNotFound(AvatarError):
    """There is no avatar of that name."""

    code: ClassVar[str] = "unknown_avatar"


class AvatarExists(AvatarError):
    """There is an avatar of that name already."""

    code: ClassVar[str] = "avatar_exists"


class AvatarTooLarge(AvatarError):
    """The avatar would take more of the disk than one avatar may."""

    code: ClassVar[str] = "avatar_too_large"


class NoRoomForAvatar(DiskFull):
    """The disk would have too little space left for everything else."""


class AvatarInUse(AvatarError):
    """A channel plays the avatar that would be replaced."""

    code: ClassVar[str] = "avatar_in_use"

    def __init__(self, name: str) -> None:
        super().__init__(f"a channel plays {name!r}: it can't be changed now. Use another name")


class MotionNotFound(AvatarError):
    """The avatar has no motion of that name."""

    code: ClassVar[str] = "unknown_motion"


class MotionExists(AvatarError):
    """The avatar has a motion of that name already."""

    code: ClassVar[str] = "motion_exists"


class OtherPerson(AvatarError):
    """A motion shows another person than its avatar."""

    code: ClassVar[str] = "other_person"


class FaceUnusable(AvatarError):
    """A clip has no stretch on which a face could speak; `frames` numbers the bad ones from 0 at 25 frames/s."""

    code: ClassVar[str] = "face_unusable"
    what: ClassVar[str] = ""
    advice: ClassVar[str] = ""

    def __init__(self, frames: list[int], total: int, longest: int, needed: int) -> None:
        left = (
            f"What is left is at most {longest} usable frames in a row, and {needed} are needed to speak on. "
            if longest
            else ""
        )
        super().__init__(
            f"{self.what} in {len(frames)} of {total} frames (at 25 frames/s: {named_frames(frames)}). "
            f"{left}{self.advice}"
        )
        self.frames = frames


class NoFace(FaceUnusable):
    """No face was found."""

    code = "no_face"
    what = "no face was found"
    advice = "Use a clip in which one face looks at the camera, or cut it to the part that does."


class FaceTooSmall(FaceUnusable):
    """The face has too few pixels to be repainted."""

    code = "face_too_small"
    what = "the face is too small"
    advice = "Use a closer or a larger picture; without --max-height, if that was given."


class FaceTurned(FaceUnusable):
    """The face looks too far to the side."""

    code = "face_turned"
    what = "the face is turned too far to the side"
    advice = "Use a clip in which the face looks towards the camera, or cut it to the part that does."


def named_frames(frames: Iterable[int]) -> str:
    """Frame numbers for people: runs as ranges, the first eight of them."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    named = [str(first) if first == last else f"{first}–{last}" for first, last in runs[:_NAMED_RANGES]]
    rest = sum(last - first + 1 for first, last in runs[_NAMED_RANGES:])
    return ", ".join(named) + (f" and {rest} more" if rest else "")
