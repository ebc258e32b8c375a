"""Face alignment as in LatentSync 1.0: smoothed landmarks to the affine that crops the face out of a frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LANDMARKS = 68
CROP_SIZE = (210, 280)  # width, height of the aligned face before it is resized to the model's square
# Means of the left brow, the right brow, and the nose's tip and wings.
_ANCHORS = (slice(17, 22), slice(22, 27), slice(27, 36))
# Their places in the crop: StyleSync's template of 75×100 with its eye and nose margins, enlarged.
_TEMPLATE = 2.8 * np.array([[17.0, 20.0], [58.0, 20.0], [37.5, 40.0]])
_SMOOTHING = 0.3
_BIAS_SMOOTHING = 0.2
_BORDER_GREY = (127, 127, 127)


class FaceAligner:
    """Aligns the faces of one video, frame by frame; the original's two smoothers carry state between frames."""

    def __init__(self) -> None:
        self._landmarks: NDArray[np.float64] | None = None
        self._bias: NDArray[np.float64] | None = None

    def align(self, landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the affine [2, 3] from frame pixels to the crop of 210×280, for landmarks [68, 2] in frame pixels."""
        if landmarks.shape != (LANDMARKS, 2):
            raise ValueError(f"landmarks must have the shape [{LANDMARKS}, 2]; got {list(landmarks.shape)}")
        smoothed = self._smoothed(np.asarray(landmarks, dtype=np.float64))
        anchors = np.array([smoothed[points].mean(axis=0) for points in _ANCHORS])
        affine, bias = _similarity(anchors)
        if self._bias is not None:
            bias = _BIAS_SMOOTHING * self._bias + (1 - _BIAS_SMOOTHING) * bias
        self._bias = bias
        affine[:, 2] += bias
        return affine

    def _smoothed(self, landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Keeps of each point's last place the more, the less it moved in relation to the face's width."""
        if self._landmarks is not None:
            moved = ((landmarks - self._landmarks) ** 2).sum(axis=1, keepdims=True)
            width = np.ptp(landmarks[:, 0])
            kept = np.exp(-moved / (width * _SMOOTHING))
            landmarks = self._landmarks * kept + landmarks * (1 - kept)
        self._landmarks = landmarks
        return landmarks


def _similarity(anchors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation and scale of three anchors onto the template, and the nose's offset, by which the crop is shifted.

    The rotation is that of the orthogonal Procrustes problem; the scale is the ratio of standard deviations.
    """
    centre, template_centre = anchors.mean(axis=0), _TEMPLATE.mean(axis=0)
    points, template = anchors - centre, _TEMPLATE - template_centre
    deviation, template_deviation = points.std(), template.std()
    points, template = points / deviation, template / template_deviation
    left, _, right = np.linalg.svd(points.T @ template)
    rotation = (template_deviation / deviation) * (left @ right).T
    affine = np.column_stack([rotation, template_centre - rotation @ centre])
    return affine, template[2] - points[2]


def crop_face(frame: NDArray[np.uint8], affine: NDArray[np.float64], resolution: int) -> NDArray[np.uint8]:
    """Crops the aligned face of a frame [H, W, 3], and resizes it to [resolution, resolution, 3], as the original."""
    crop = cv2.warpAffine(frame, affine, CROP_SIZE, borderValue=_BORDER_GREY)
    # Area averaging when it shrinks: fine texture would alias and flicker otherwise.
    shrinks = resolution < min(CROP_SIZE)
    face = cv2.resize(crop, (resolution, resolution), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4)
    return np.asarray(face, dtype=np.uint8)


def face_matrix(affine: NDArray[np.float64], resolution: int) -> NDArray[np.float64]:
    """The affine [2, 3] from frame pixels to the square face crop of `crop_face`, in coordinates of pixel centres."""
    scale = resolution / np.array(CROP_SIZE, dtype=np.float64)
    matrix = affine * scale[:, None]
    matrix[:, 2] += (scale - 1) / 2
    return np.asarray(matrix, dtype=np.float64)
