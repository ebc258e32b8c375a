"""A picture that is to become a video: looked at before a service is asked, and perhaps paid, for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latentsync.avatar import AvatarError, PreparedAvatar
from orchestrator.avatars.errors import NoFace, VideoError
from orchestrator.avatars.faces import FaceFinder
from orchestrator.avatars.likeness import require_same_person
from orchestrator.avatars.video import read_frames, video_info

_BEGINNINGS = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg"}


class BadPicture(AvatarError):
    """The file is no picture that can be used."""

    code = "bad_picture"


def picture_suffix(picture: Path) -> str:
    """.png, .jpg or .webp, by what the file holds; raises BadPicture."""
    with picture.open("rb") as file:
        begins = file.read(12)
    if begins[:4] == b"RIFF" and begins[8:] == b"WEBP":
        return ".webp"
    for beginning, suffix in _BEGINNINGS.items():
        if begins.startswith(beginning):
            return suffix
    raise BadPicture("the file is no picture in PNG, JPEG or WebP: send one of these")


def require_face(picture: Path, finder: FaceFinder, person: PreparedAvatar | None = None) -> None:
    """Raises NoFace for a picture without a face, and BadPicture for one that can't be read.

    Of its faces one must be that of the avatar `person`, where it is given: else raises OtherPerson.
    """
    try:
        video_info(picture)  # refuses one that is too large to be decoded
        frame = next(read_frames(picture, 1), None)
    except VideoError as error:
        raise BadPicture(str(error)) from None
    if frame is None:
        raise BadPicture("the picture can't be read: it may have been cut off")
    faces = finder.detect(np.ascontiguousarray(frame))
    if not faces:
        raise NoFace([0], 1, 0, 1)
    if person is not None:
        require_same_person(picture.stem, person.name, person.landmarks, np.stack([face.landmarks for face in faces]))
