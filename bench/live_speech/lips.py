"""How faces of a live speech differ from those of the whole one: the lips' opening, and the picture of the mouth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Faces = NDArray[np.uint8]

_INPUT, _POINTS = 192, 468
_UPPER_LIP, _LOWER_LIP, _FOREHEAD, _CHIN = 13, 14, 10, 152
_OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
# MediaPipe expects more around a face than LatentSync crops: top, bottom, left, right as shares of the crop.
_MARGINS = (0.125, 0.1875, 0.15625, 0.15625)
_MOUTH_MARGIN = 0.3  # of the mouth's box, on each side


@dataclass(frozen=True)
class Likeness:
    """`r` and `amplitude` of the lips' opening, `psnr_db` of the mouth's picture; 1, 1 and infinity are the same."""

    r: float
    amplitude: float
    psnr_db: float


class LipReader:
    """Reads aligned faces by MediaPipe's landmarks. Raises FileNotFoundError where `fetch` hasn't brought them."""

    def __init__(self, landmarks: Path) -> None:
        if not landmarks.is_file():
            raise FileNotFoundError(f"{landmarks} is missing: run `latentsync-realtime fetch`")
        self._net = cv2.dnn.readNetFromTFLite(str(landmarks))
        self._outputs = self._net.getUnconnectedOutLayersNames()

    def likeness(self, faces: Faces, expected: Faces) -> Likeness:
        """How `faces` uint8 [n, R, R, 3] compare with `expected` of the same shape."""
        points, true_points = self._points(faces), self._points(expected)
        opening, true_opening = _openings(points), _openings(true_points)
        box = _mouth(true_points, faces.shape[1])
        error = np.mean(np.square(faces[:, *box].astype(np.float64) - expected[:, *box]))
        return Likeness(
            r=float(np.corrcoef(opening, true_opening)[0, 1]),
            amplitude=float(opening.std() / true_opening.std()),
            psnr_db=float(10 * np.log10(255**2 / max(error, 1e-9))),
        )

    def _points(self, faces: Faces) -> NDArray[np.float64]:
        """Landmarks in pixels of the faces, [n, 468, 2]."""
        side = faces.shape[1]
        top, bottom, left, right = (round(share * side) for share in _MARGINS)
        found = []
        for face in faces:
            padded = cv2.copyMakeBorder(face, top, bottom, left, right, borderType=cv2.BORDER_REPLICATE)
            self._net.setInput(cv2.dnn.blobFromImage(padded, 1 / 255, (_INPUT, _INPUT), swapRB=False))
            landmarks = next(output for output in self._net.forward(self._outputs) if output.size == _POINTS * 3)
            scale = np.array([side + left + right, side + top + bottom]) / _INPUT
            found.append(landmarks.reshape(_POINTS, 3)[:, :2] * scale - (left, top))
        return np.asarray(np.stack(found), np.float64)


def _openings(points: NDArray[np.float64]) -> NDArray[np.float64]:
    gap = np.linalg.norm(points[:, _UPPER_LIP] - points[:, _LOWER_LIP], axis=1)
    return np.asarray(gap / np.linalg.norm(points[:, _FOREHEAD] - points[:, _CHIN], axis=1))


def _mouth(points: NDArray[np.float64], side: int) -> tuple[slice, slice]:
    """Rows and columns of a box around the lips of all frames."""
    lips = points[:, _OUTER_LIPS].reshape(-1, 2)
    low, high = lips.min(axis=0), lips.max(axis=0)
    margin = _MOUTH_MARGIN * (high - low)
    (left, top), (right, bottom) = np.clip(low - margin, 0, side), np.clip(high + margin, 0, side)
    return slice(int(top), int(bottom)), slice(int(left), int(right))
