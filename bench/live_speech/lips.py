"""How faces of a live speech differ from those of the whole one: the lips' opening, and the picture of the mouth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentsync.lip_landmarks import LipLandmarks, in_crop, openings

Faces = NDArray[np.uint8]

_OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
_MOUTH_MARGIN = 0.3  # of the mouth's box, on each side


@dataclass(frozen=True)
class Likeness:
    """`r` and `amplitude` of the lips' opening, `psnr_db` of the mouth's picture; 1, 1 and infinity are the same."""

    r: float
    amplitude: float
    psnr_db: float


@dataclass(frozen=True)
class SeenFaces:
    """Faces uint8 [n, R, R, 3] and their landmarks float32 [n, 468, 2], which are found once for all comparisons."""

    faces: Faces
    points: NDArray[np.float32]

    @classmethod
    def of(cls, faces: Faces, landmarks: LipLandmarks) -> SeenFaces:
        """Find the landmarks of all faces."""
        return cls(faces, np.stack([landmarks.points(face) for face in faces]))

    def part(self, begin: int, end: int) -> SeenFaces:
        """Frames `begin` … `end` - 1, or fewer where they end sooner."""
        return SeenFaces(self.faces[begin:end], self.points[begin:end])


def likeness(seen: SeenFaces, expected: SeenFaces) -> Likeness:
    """How faces compare with the expected ones, of which there are as many."""
    opening, true_opening = openings(seen.points), openings(expected.points)
    side = seen.faces.shape[1]
    box = _mouth(in_crop(expected.points, side), side)
    error = np.mean(np.square(seen.faces[:, *box].astype(np.float64) - expected.faces[:, *box]))
    return Likeness(
        r=float(np.corrcoef(opening, true_opening)[0, 1]),
        amplitude=float(opening.std() / true_opening.std()),
        psnr_db=float(10 * np.log10(255**2 / max(error, 1e-9))),
    )


def _mouth(points: NDArray[np.float64], side: int) -> tuple[slice, slice]:
    """Rows and columns of a box around the lips of all frames."""
    lips = points[:, _OUTER_LIPS].reshape(-1, 2)
    low, high = lips.min(axis=0), lips.max(axis=0)
    margin = _MOUTH_MARGIN * (high - low)
    (left, top), (right, bottom) = np.clip(low - margin, 0, side), np.clip(high + margin, 0, side)
    return slice(int(top), int(bottom)), slice(int(left), int(right))
