"""Lips on aligned face crops, from MediaPipe's face landmarks, run with OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

INPUT = 192
POINTS = 468
UPPER_LIP, LOWER_LIP = 13, 14  # middle of the inner edge
FOREHEAD, CHIN = 10, 152
MARGINS = (0.125, 0.1875, 0.15625, 0.15625)
"""Top, bottom, left, right as shares of the crop: MediaPipe expects more margin around a face than LatentSync crops."""


class LipLandmarks:
    """MediaPipe's `face_landmark.tflite` on aligned face crops. Raises FileNotFoundError when the file is absent."""

    def __init__(self, model: Path) -> None:
        if not model.is_file():
            raise FileNotFoundError(f"{model}: no face landmark model (see checkpoints/README.md)")
        self._net = cv2.dnn.readNetFromTFLite(str(model))
        self._outputs = self._net.getUnconnectedOutLayersNames()

    def points(self, face: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Landmarks of an aligned face, uint8 [R, R, 3] RGB: float32 [468, 2], in pixels of a padded square."""
        top, bottom, left, right = (round(share * len(face)) for share in MARGINS)
        padded = cv2.copyMakeBorder(
            np.ascontiguousarray(face), top, bottom, left, right, borderType=cv2.BORDER_REPLICATE
        )
        self._net.setInput(cv2.dnn.blobFromImage(padded, 1 / 255, (INPUT, INPUT), swapRB=False))
        landmarks = next(output for output in self._net.forward(self._outputs) if output.size == POINTS * 3)
        return np.asarray(landmarks.reshape(POINTS, 3)[:, :2])

    def openings(self, faces: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Gap between the lips divided by the height of the face, for each of uint8 [n, R, R, 3]: float64 [n]."""
        return openings(np.stack([self.points(face) for face in faces]))


def openings(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Gap between the lips divided by the height of the face, float64 [n], of landmarks [n, 468, 2]."""
    found = points.astype(np.float64)
    gap = np.linalg.norm(found[:, UPPER_LIP] - found[:, LOWER_LIP], axis=1)
    return np.asarray(gap / np.linalg.norm(found[:, FOREHEAD] - found[:, CHIN], axis=1))


def in_crop(points: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """Landmarks [n, 468, 2] of the padded square as pixels of the face crop, whose side is given."""
    top, bottom, left, right = (round(share * side) for share in MARGINS)
    scale = np.array([side + left + right, side + top + bottom]) / INPUT
    return np.asarray(points * scale - (left, top), np.float64)
