"""Faces of a video's frames: found, steadied and cut out, frame after frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latentsync.alignment import FaceAligner, crop_face, face_matrix
from latentsync.avatar import Loop
from orchestrator.avatars.errors import NoFace
from orchestrator.avatars.looping import detect_loop, thumbnail


class FoundFace(Protocol):
    """A face with its landmarks; `latentsync.landmarks.Face` is one."""

    @property
    def landmarks(self) -> NDArray[np.float64]:
        """The 68 landmarks [68, 2] in frame pixels."""
        ...


class FaceFinder(Protocol):
    """Finds faces; `latentsync.landmarks.FaceLandmarker` is one."""

    def detect(self, frame: NDArray[np.uint8]) -> Sequence[FoundFace]:
        """The faces in a frame RGB [H, W, 3], the one to animate first."""
        ...


@dataclass(frozen=True)
class Track:
    """Where the face lies in each frame, [N, 2, 3] from frame to crop pixels, and how the clip repeats."""

    matrices: NDArray[np.float64]
    loop: Loop


class FaceTracker:
    """Walks over a clip's frames once; keeps numbers and thumbnails of them, never the frames."""

    def __init__(self, frames: Iterable[NDArray[np.uint8]], finder: FaceFinder, resolution: int) -> None:
        self._frames: Iterator[NDArray[np.uint8]] = iter(frames)
        self._finder = finder
        self._resolution = resolution
        self._aligner = FaceAligner()
        self._matrices: list[NDArray[np.float64]] = []
        self._thumbnails: list[NDArray[np.float32]] = []
        self._without_face: list[int] = []

    @property
    def frames_seen(self) -> int:
        """How many frames were read."""
        return len(self._thumbnails)

    def next_faces(self, count: int) -> NDArray[np.uint8] | None:
        """Face crops RGB uint8 [k ≤ count, R, R, 3] of the next frames; None at the clip's end.

        Once a frame has no face, the rest is only searched for others: k is 0 then.
        """
        frames = list(islice(self._frames, count))
        if not frames:
            return None
        faces = [face for frame in frames if (face := self._face(frame)) is not None]
        empty = np.zeros((0, self._resolution, self._resolution, 3), np.uint8)
        return np.stack(faces) if faces and not self._without_face else empty

    def _face(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        found = self._finder.detect(frame)
        if not found:
            self._without_face.append(self.frames_seen)
        self._thumbnails.append(thumbnail(frame))
        if not found:
            return None
        affine = self._aligner.align(found[0].landmarks)
        self._matrices.append(face_matrix(affine, self._resolution))
        return crop_face(frame, affine, self._resolution)

    def track(self) -> Track:
        """What was found in the whole clip; raises `NoFace` naming the frames without one."""
        if self._without_face:
            raise NoFace(self._without_face, self.frames_seen)
        return Track(np.stack(self._matrices), detect_loop(self._thumbnails))
