"""Landmarks of a face that a test puts where it likes, and finders that report them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.avatars.faces import FoundFace


@dataclass(eq=False)
class DrawnFace:
    """A face as a detector would give it: 68 landmarks [68, 2] in pixels."""

    landmarks: NDArray[Any]


def drawn_face(x: float, y: float, width: float = 100.0, turn: float = 0.0) -> DrawnFace:
    """A face centred on (x, y); `turn` moves its nose from the middle (0) to an ear (±1)."""
    points = np.zeros((68, 2))
    angles = np.linspace(np.pi, 0, 17)
    points[:17] = np.column_stack([np.cos(angles), np.sin(angles)]) * [0.5, 0.65]
    points[1], points[15] = (-0.5, 0), (0.5, 0)
    points[17:22] = np.column_stack([np.linspace(-0.4, -0.1, 5), np.full(5, -0.25)])
    points[22:27] = np.column_stack([np.linspace(0.1, 0.4, 5), np.full(5, -0.25)])
    points[27:36] = np.column_stack([np.linspace(-0.05, 0.05, 9), np.linspace(-0.1, 0.15, 9)])
    points[30] = (turn / 2, 0.1)
    points[36:42] = np.array([-0.2, -0.1]) + 0.05 * np.random.default_rng(0).standard_normal((6, 2))
    points[42:48] = points[36:42] * [-1, 1]
    points[48:68] = np.column_stack([np.linspace(-0.2, 0.2, 20), np.full(20, 0.4)])
    return DrawnFace(points * width + [x, y])


class Script:
    """A finder that plays a script: the faces of frame 0, 1, 2 …; what the detector misses can't be followed."""

    def __init__(self, faces: Callable[[int], Sequence[DrawnFace]]) -> None:
        self._faces = faces
        self._frame = -1

    def detect(self, frame: NDArray[Any]) -> Sequence[DrawnFace]:
        self._frame += 1
        return self._faces(self._frame)

    def follow(self, frame: NDArray[Any], face: FoundFace) -> FoundFace | None:
        return None


class FollowsSquare:
    """Stands in for the detector where no real face is at hand: a face is where the red square is."""

    def detect(self, frame: NDArray[Any]) -> list[DrawnFace]:
        rows, columns = np.nonzero((frame[..., 0] > 180) & (frame[..., 1] < 90))
        return [drawn_face(columns.mean(), rows.mean(), 60)] if len(rows) else []

    def follow(self, frame: NDArray[Any], face: FoundFace) -> FoundFace | None:
        return None
