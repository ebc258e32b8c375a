"""Face alignment as in LatentSync: smoothed landmarks to the affine that crops the face out of a frame.

Faces of up to 256 pixels come out of a crop of 210×280, as in versions 1.0 and 1.5; larger ones out of a larger crop,
as in 1.6: 420×560 for 512, so that a face is never enlarged from a small crop.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LANDMARKS = 68
SMALLEST_CROPPED = 256  # the side of a face in pixels up to which the crop stays the same
CROP_SIZE = (210, 280)  # width, height of the aligned face before it is resized to a square of that side
# Means of the left brow, the right brow, and the nose's tip and wings.
_ANCHORS = (slice(17, 22), slice(22, 27), slice(27, 36))
# Their places in the crop: StyleSync's template of 75×100 with its eye and nose margins, enlarged.
_TEMPLATE = 2.8 * np.array([[17.0, 20.0], [58.0, 20.0], [37.5, 40.0]])
_SMOOTHING = 0.3
_BIAS_SMOOTHING = 0.2
_BORDER_GREY = (127, 127, 127)


def crop_size(resolution: int) -> tuple[int, int]:
    """Width and height of the crop that a face of this side in pixels is made of."""
    scale = _crop_scale(resolution)
    return round(CROP_SIZE[0] * scale), round(CROP_SIZE[1] * scale)


def _crop_scale(resolution: int) -> float:
    return max(1.0, resolution / SMALLEST_CROPPED)


class AnchorAligner:
    """Aligns brows and nose to the template, frame by frame; what the crop is shifted by is smoothed over time."""

    def __init__(self, resolution: int, sample_deviation: bool | None = None) -> None:
        """`sample_deviation`: whether the anchors' spread is divided by n - 1.

        The original does so since version 1.6, which is the default for faces of more than 256 pixels; it moves the
        crop by 0.015 pixels.
        """
        self._template = _TEMPLATE * _crop_scale(resolution)
        self._ddof = int(resolution > SMALLEST_CROPPED if sample_deviation is None else sample_deviation)
        self._bias: NDArray[np.float64] | None = None

    def align(self, anchors: NDArray[np.float64]) -> NDArray[np.float64]:
        """The affine [2, 3] from frame pixels to the crop, for left brow, right brow, nose [3, 2] in frame pixels."""
        affine, bias = _similarity(anchors, self._template, self._ddof)
        if self._bias is not None:
            bias = _BIAS_SMOOTHING * self._bias + (1 - _BIAS_SMOOTHING) * bias
        self._bias = bias
        # In crop pixels whatever the crop's size, as in the original.
        affine[:, 2] += bias
        return affine


class FaceAligner:
    """Aligns the faces of one video, frame by frame; the original's two smoothers carry state between frames."""

    def __init__(self, resolution: int = SMALLEST_CROPPED) -> None:
        """`resolution` is the side of the faces in pixels."""
        self._landmarks: NDArray[np.float64] | None = None
        self._anchors = AnchorAligner(resolution)

    def align(self, landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the affine [2, 3] from frame pixels to the crop (see `crop_size`), for landmarks [68, 2] in them."""
        if landmarks.shape != (LANDMARKS, 2):
            raise ValueError(f"landmarks must have the shape [{LANDMARKS}, 2]; got {list(landmarks.shape)}")
        smoothed = self._smoothed(np.asarray(landmarks, dtype=np.float64))
        return self._anchors.align(np.array([smoothed[points].mean(axis=0) for points in _ANCHORS]))

    def _smoothed(self, landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Keeps of each point's last place the more, the less it moved in relation to the face's width."""
        if self._landmarks is not None:
            moved = ((landmarks - self._landmarks) ** 2).sum(axis=1, keepdims=True)
            width = np.ptp(landmarks[:, 0])
            kept = np.exp(-moved / (width * _SMOOTHING))
            landmarks = self._landmarks * kept + landmarks * (1 - kept)
        self._landmarks = landmarks
        return landmarks


def _similarity(
    anchors: NDArray[np.float64], goal: NDArray[np.float64], ddof: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation and scale of three anchors onto the template, and the nose's offset, by which the crop is shifted.

    The rotation is that of the orthogonal Procrustes problem, and never a reflection; the scale is the ratio of
    standard deviations.
    """
    centre, template_centre = anchors.mean(axis=0), goal.mean(axis=0)
    points, template = anchors - centre, goal - template_centre
    deviation, template_deviation = points.std(ddof=ddof), template.std(ddof=ddof)
    points, template = points / deviation, template / template_deviation
    left, _, right = np.linalg.svd(points.T @ template)
    if np.linalg.det(left @ right) < 0:
        right[-1] *= -1
    rotation = (template_deviation / deviation) * (left @ right).T
    affine = np.column_stack([rotation, template_centre - rotation @ centre])
    return affine, template[2] - points[2]


def crop_face(frame: NDArray[np.uint8], affine: NDArray[np.float64], resolution: int) -> NDArray[np.uint8]:
    """Crops the aligned face of a frame [H, W, 3], and resizes it to [resolution, resolution, 3], as the original."""
    size = crop_size(resolution)
    crop = cv2.warpAffine(frame, affine, size, borderValue=_BORDER_GREY)
    # Area averaging when it shrinks: fine texture would alias and flicker otherwise.
    shrinks = resolution < min(size)
    face = cv2.resize(crop, (resolution, resolution), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4)
    return np.asarray(face, dtype=np.uint8)


def face_matrix(affine: NDArray[np.float64], resolution: int) -> NDArray[np.float64]:
    """The affine [2, 3] from frame pixels to the square face crop of `crop_face`, in coordinates of pixel centres."""
    scale = resolution / np.array(crop_size(resolution), dtype=np.float64)
    matrix = affine * scale[:, None]
    matrix[:, 2] += (scale - 1) / 2
    return np.asarray(matrix, dtype=np.float64)
