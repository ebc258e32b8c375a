"""Facial landmarks: MediaPipe's mesh of 468 points, and the 68 of them that face alignment uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from latentsync.face_detection import FULL_RANGE, SHORT_RANGE, Detection, FaceDetector

MESH_POINTS = 468
_LANDMARK_FILE = "face_landmark.tflite"
_CROP_SIZE = 192
_CROP_MARGIN = 1.5  # side of the crop over the longer side of the face's box
_MESH_OUTPUT, _PRESENCE_OUTPUT = "conv2d_20", "conv2d_30"
_LEAST_PRESENCE = 0.5
_RIGHT_EYE_CORNER, _LEFT_EYE_CORNER = 33, 263
_RIGHT_EYE, _LEFT_EYE = 36, 45  # the same corners among the 68

# The mesh's point for each of the 68 landmarks in the order of iBUG's 300-W annotation.
_JAW = (162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389)
_BROWS = (71, 63, 105, 66, 107, 336, 296, 334, 293, 301)
_NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
_INNER_LIPS = (78, 82, 13, 312, 308, 317, 14, 87)
LANDMARK_POINTS = np.array(_JAW + _BROWS + _NOSE + _EYES + _OUTER_LIPS + _INNER_LIPS)


class LandmarkModelError(FileNotFoundError):
    """A model file that face detection needs is missing."""


@dataclass(frozen=True, eq=False)
class Face:
    """A found face: its mesh [468, 2] in frame pixels, and the model's confidence that it is one (0 to 1)."""

    mesh: NDArray[np.float64]
    presence: float

    @property
    def landmarks(self) -> NDArray[np.float64]:
        """The 68 landmarks [68, 2] in frame pixels."""
        points: NDArray[np.float64] = self.mesh[LANDMARK_POINTS]
        return points

    @property
    def width(self) -> float:
        """Width in pixels."""
        return float(np.ptp(self.mesh[:, 0]))


class FoundFace(Protocol):
    """Any face with its 68 landmarks."""

    @property
    def landmarks(self) -> NDArray[np.float64]:
        """[68, 2] in frame pixels."""
        ...


class FaceLandmarker:
    """Finds faces and their landmarks; it keeps no state between frames. Load it once."""

    def __init__(self, model_dir: Path | str) -> None:
        """Loads the three models; raises LandmarkModelError naming those that are missing."""
        directory = Path(model_dir)
        files = (SHORT_RANGE.file, FULL_RANGE.file, _LANDMARK_FILE)
        missing = [name for name in files if not (directory / name).is_file()]
        if missing:
            raise LandmarkModelError(f"{directory} lacks {', '.join(missing)}: run `latentsync-realtime fetch`")
        # The model that finds small faces, which are the harder ones, runs first.
        self._detectors = [FaceDetector(directory, model) for model in (FULL_RANGE, SHORT_RANGE)]
        self._net = cv2.dnn.readNetFromTFLite(str(directory / _LANDMARK_FILE))

    def detect(self, frame: NDArray[np.uint8]) -> list[Face]:
        """Finds the faces in an RGB frame [H, W, 3] uint8, the widest first; none is an empty list."""
        for detector in self._detectors:
            found = [self._face(frame, detection) for detection in detector.detect(frame)]
            faces = [face for face in found if face.presence >= _LEAST_PRESENCE]
            if faces:
                return sorted(faces, key=lambda face: -face.width)
        return []

    def follow(self, frame: NDArray[np.uint8], face: FoundFace) -> Face | None:
        """Looks for a face where it was in an earlier frame, for when the detectors miss it; None if it isn't there.

        A face that turns away or is half hidden is often lost to the detectors long before its mesh is.
        """
        points = face.landmarks
        box = np.array([points.min(axis=0), points.max(axis=0)])
        eyes = points[_RIGHT_EYE], points[_LEFT_EYE]
        found = self._mesh(frame, _crop_matrix(box, *eyes))
        return found if found.presence >= _LEAST_PRESENCE else None

    def _face(self, frame: NDArray[np.uint8], detection: Detection) -> Face:
        box = np.array([[detection.left, detection.top], [detection.right, detection.bottom]])
        first = self._mesh(frame, _crop_matrix(box, detection.right_eye, detection.left_eye))
        # The detector's box jitters; a crop around the mesh itself does much less.
        box = np.array([first.mesh.min(axis=0), first.mesh.max(axis=0)])
        eyes = first.mesh[_RIGHT_EYE_CORNER], first.mesh[_LEFT_EYE_CORNER]
        return self._mesh(frame, _crop_matrix(box, *eyes))

    def _mesh(self, frame: NDArray[np.uint8], matrix: NDArray[np.float64]) -> Face:
        crop = cv2.warpAffine(frame, matrix, (_CROP_SIZE, _CROP_SIZE), flags=cv2.INTER_LINEAR)
        self._net.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
        mesh, presence = self._net.forward([_MESH_OUTPUT, _PRESENCE_OUTPUT])
        in_crop = mesh.reshape(MESH_POINTS, 3)[:, :2].astype(np.float64)
        back = cv2.invertAffineTransform(matrix)
        return Face(in_crop @ back[:, :2].T + back[:, 2], float(1 / (1 + np.exp(-float(presence.item())))))


def _crop_matrix(
    box: NDArray[np.float64], right_eye: NDArray[np.float64], left_eye: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Affine [2, 3] from frame pixels to an upright crop around a box [2, 2], its eyes level."""
    centre = box.mean(axis=0)
    scale = _CROP_SIZE / (_CROP_MARGIN * float((box[1] - box[0]).max()))
    across = left_eye - right_eye
    cosine, sine = scale * across / max(float(np.hypot(*across)), 1e-6)
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    return np.column_stack([rotation, _CROP_SIZE / 2 - rotation @ centre])
