"""Which frames of a motion look like which of the avatar's idle frames: pictures and landmarks compared."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from latentsync.avatar_files import FrameFile
from orchestrator.avatars.errors import OtherPerson
from orchestrator.avatars.faces import face_width
from orchestrator.avatars.looping import thumbnail

_PERCENT = 100
_ORDINARY_QUANTILE = 0.95
_LEAST_ORDINARY = 0.1
_LEFT_EYE, _RIGHT_EYE = slice(36, 42), slice(42, 48)
# Brows and lips move with every expression; jaw, nose, eyes and the corners of the mouth hardly do.
_BONY = np.array([*range(17), *range(27, 48), 48, 54])
_SAME_PERSON = 0.045
"""In distances of the eyes. Between parts of one person's clips 0.02 was measured, between people up to 0.06."""
_CLOSEST_SHARE = 0.2


def thumbnails(frames: FrameFile) -> NDArray[np.float32]:
    """Small grey pictures of all frames, float32 [N, 64 · 64]; one frame at a time is in memory."""
    return np.stack([thumbnail(frames[index]).ravel() for index in range(len(frames))])


def differences(
    idle: NDArray[np.float32],
    motion: NDArray[np.float32],
    idle_landmarks: NDArray[np.float32] | None,
    motion_landmarks: NDArray[np.float32],
) -> NDArray[np.float32]:
    """How much each idle frame differs from each frame of a motion, float32 [I, M].

    Thumbnails [I, p] and [M, p] in mean grey levels, and landmarks [I, 68, 2] and [M, 68, 2] in percents of the face's
    width, summed; landmarks that are NaN count as equal.
    """
    found = np.empty((len(idle), len(motion)), np.float32)
    for number, picture in enumerate(motion):
        found[:, number] = np.abs(idle - picture).mean(axis=1)
    if idle_landmarks is None:
        return found
    for number, points in enumerate(motion_landmarks):
        if not np.isfinite(points).all():
            continue
        apart = np.hypot(*np.moveaxis(idle_landmarks - points, -1, 0)).mean(axis=1)
        found[:, number] += np.nan_to_num(_PERCENT * apart / face_width(points.astype(np.float64))).astype(np.float32)
    return found


def ordinary_difference(*clips: NDArray[np.float32]) -> float:
    """How much neighbouring frames differ where a clip moves most, in grey levels; of thumbnails [N, p] a clip."""
    largest = [
        float(np.quantile([np.abs(after - before).mean() for before, after in pairwise(clip)], _ORDINARY_QUANTILE))
        for clip in clips
        if len(clip) > 1
    ]
    return max([_LEAST_ORDINARY, *largest])


def require_same_person(name: str, avatar: str, idle: NDArray[np.float32] | None, motion: NDArray[np.float32]) -> None:
    """Raises OtherPerson where the bones of the face differ too much; landmarks [I, 68, 2] and [M, 68, 2].

    A nod changes a face's shape in the picture, so that only the motion's frames that resemble the avatar most count.
    """
    known = _shapes(np.empty((0, 68, 2), np.float32) if idle is None else idle)
    seen = _shapes(motion)
    if not len(known) or not len(seen):
        return
    usual = np.median(known, axis=0)
    apart = float(np.quantile(np.hypot(*np.moveaxis(seen - usual, -1, 0)).mean(axis=1), _CLOSEST_SHARE))
    if apart > _SAME_PERSON:
        raise OtherPerson(
            f"the face of {name!r} is not that of avatar {avatar!r}: its shape differs by {apart:.3f} of the "
            f"distance between the eyes, at most {_SAME_PERSON} is possible. Use a video of the same "
            "person from the same camera"
        )


def _shapes(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """The bony points of each found face, upright, in distances of the eyes from the middle between them."""
    found = landmarks[np.isfinite(landmarks).all(axis=(1, 2))].astype(np.float64)
    left, right = found[:, _LEFT_EYE].mean(axis=1), found[:, _RIGHT_EYE].mean(axis=1)
    across = right - left
    along = across / np.maximum((across**2).sum(axis=1, keepdims=True), 1e-6)
    centred = found[:, _BONY] - ((left + right) / 2)[:, None]
    x = (centred * along[:, None]).sum(axis=-1)
    y = centred[..., 1] * along[:, None, 0] - centred[..., 0] * along[:, None, 1]
    return np.stack([x, y], axis=-1)
