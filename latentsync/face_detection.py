"""Finds faces in pictures with MediaPipe's BlazeFace models, run by OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_KEYPOINTS = 6  # eyes, nose, mouth, ears
_RIGHT_EYE, _LEFT_EYE = 0, 1
_OVERLAP = 0.3


@dataclass(frozen=True, eq=False)
class Detection:
    """A face's box in frame pixels, and its eyes (the person's right one is on the picture's left)."""

    left: float
    top: float
    right: float
    bottom: float
    right_eye: NDArray[np.float64]
    left_eye: NDArray[np.float64]
    score: float


@dataclass(frozen=True)
class DetectorModel:
    """One BlazeFace model: file, input size, anchors as (stride, anchors per cell), least score, output names."""

    file: str
    size: int
    layers: tuple[tuple[int, int], ...]
    least_score: float
    regressors: str
    classifiers: str


# For faces that fill the picture, and for small ones; the values are those of MediaPipe's graphs.
SHORT_RANGE = DetectorModel(
    "face_detection_short_range.tflite", 128, ((8, 2), (16, 6)), 0.5, "regressors", "classificators"
)
FULL_RANGE = DetectorModel(
    "face_detection_full_range.tflite", 192, ((4, 1),), 0.6, "reshaped_regressor_face_4", "reshaped_classifier_face_4"
)


class FaceDetector:
    """One loaded detection model."""

    def __init__(self, directory: Path, model: DetectorModel) -> None:
        self._model = model
        self._net = cv2.dnn.readNetFromTFLite(str(directory / model.file))
        self._anchors = _anchor_centres(model)

    def detect(self, frame: NDArray[np.uint8]) -> list[Detection]:
        """Finds the faces in an RGB frame [H, W, 3] uint8, the most certain first."""
        size = self._model.size
        height, width = frame.shape[:2]
        scale = size / max(height, width)
        # Fitted into the middle of the square, so that faces keep their shape.
        matrix = np.array([[scale, 0, (size - width * scale) / 2], [0, scale, (size - height * scale) / 2]])
        fitted = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        square = np.zeros((size, size, 3), np.uint8)
        x, y = (size - fitted.shape[1]) // 2, (size - fitted.shape[0]) // 2
        square[y : y + fitted.shape[0], x : x + fitted.shape[1]] = fitted
        self._net.setInput(cv2.dnn.blobFromImage(square, 1 / 127.5, mean=(127.5, 127.5, 127.5)))
        regressors, classifiers = self._net.forward([self._model.regressors, self._model.classifiers])
        scores = 1 / (1 + np.exp(-np.clip(classifiers[0, :, 0].astype(np.float64), -100, 100)))
        found = scores >= self._model.least_score
        values = regressors[0, found].astype(np.float64)
        centres = values[:, :2] + self._anchors[found]
        boxes = np.concatenate([centres - values[:, 2:4] / 2, centres + values[:, 2:4] / 2], axis=1)
        points = values[:, 4:].reshape(-1, _KEYPOINTS, 2) + self._anchors[found, None]
        corners = np.concatenate([boxes.reshape(-1, 2, 2), points], axis=1)
        in_frame = (corners - matrix[:, 2]) / scale
        return [_detection(corners, score) for corners, score in _suppressed(in_frame, scores[found])]


def _anchor_centres(model: DetectorModel) -> NDArray[np.float64]:
    """Centres [anchors, 2] of the cells that the model's outputs are relative to, in input pixels."""
    centres = []
    for stride, per_cell in model.layers:
        steps = (np.arange(model.size // stride) + 0.5) * stride
        grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        centres.append(np.repeat(grid, per_cell, axis=0))
    return np.concatenate(centres)


def _suppressed(corners: NDArray[np.float64], scores: NDArray[np.float64]) -> list[tuple[NDArray[np.float64], float]]:
    """Blends detections of one face into one, weighted by score, as BlazeFace proposes against jitter."""
    kept = []
    left = np.argsort(-scores)
    while len(left):
        overlap = _intersection_over_union(corners[left[0]], corners[left])
        same = left[overlap > _OVERLAP]
        kept.append((np.average(corners[same], axis=0, weights=scores[same]), float(scores[left[0]])))
        left = left[overlap <= _OVERLAP]
    return kept


def _intersection_over_union(one: NDArray[np.float64], many: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.maximum(one[0], many[:, 0]), np.minimum(one[1], many[:, 1])
    shared = np.maximum(high - low, 0).prod(axis=1)
    areas = np.maximum(many[:, 1] - many[:, 0], 0).prod(axis=1)
    union = np.maximum(one[1] - one[0], 0).prod() + areas - shared
    return np.where(union > 0, shared / np.maximum(union, 1e-9), 1.0)


def _detection(corners: NDArray[np.float64], score: float) -> Detection:
    (left, top), (right, bottom) = corners[0], corners[1]
    points = corners[2:]
    return Detection(float(left), float(top), float(right), float(bottom), points[_RIGHT_EYE], points[_LEFT_EYE], score)
