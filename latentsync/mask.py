"""The region of a face that is repainted: a U over its lower half that excludes the nose."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# All as fractions of the face crop's side, so that any resolution can be drawn.
_NOSE_LEFT, _NOSE_RIGHT, _NOSE_BOTTOM = 78 / 256, 178 / 256, 128 / 256
# The U's edges on the way down from the cheeks to the chin.
_HEIGHTS = np.array([95, 132, 150, 170, 178, 190, 200, 210, 218, 226, 234, 241, 243]) / 256
_LEFT = np.array([9, 9, 10.5, 11.8, 16.3, 23.5, 32.2, 42, 52.8, 66.7, 83.7, 106, 130]) / 256
_RIGHT = np.array([247.2, 247.8, 246.7, 245, 241, 233.4, 224.8, 215.8, 206, 194.7, 178.2, 158.5, 150]) / 256


# Larger masks are this one enlarged, as LatentSync 1.6 has them.
_LARGEST_DRAWN = 256


def face_mask(size: int) -> NDArray[np.float32]:
    """LatentSync's mask [size, size]: 1 = keep, 0 = repaint.

    Up to 256 pixels it is drawn, a pixel having the value at its centre; beyond it is that of 256 enlarged by Lanczos'
    filter in steps of grey levels, so that its edges are soft.
    """
    if size <= _LARGEST_DRAWN:
        return _drawn(size)
    grey = (255 * _drawn(_LARGEST_DRAWN)).astype(np.uint8)
    enlarged = cv2.resize(grey, (size, size), interpolation=cv2.INTER_LANCZOS4)
    return np.asarray(enlarged / np.float32(255), dtype=np.float32)


def _drawn(size: int) -> NDArray[np.float32]:
    centres = (np.arange(size) + 0.5) / size
    y, x = centres[:, None], centres[None, :]
    left, right = np.interp(y, _HEIGHTS, _LEFT), np.interp(y, _HEIGHTS, _RIGHT)
    inside = (y > _HEIGHTS[0]) & (y < _HEIGHTS[-1]) & (x > left) & (x < right)
    nose = (y < _NOSE_BOTTOM) & (x > _NOSE_LEFT) & (x < _NOSE_RIGHT)
    return np.where(inside & ~nose, 0, 1).astype(np.float32)


def latent_mask(size: int, latent_size: int) -> NDArray[np.float32]:
    """Nearest-resizes the mask of a face crop to the latents' grid: the mask channel of the UNet's condition."""
    picked = np.arange(latent_size) * size // latent_size
    mask: NDArray[np.float32] = face_mask(size)[np.ix_(picked, picked)]
    return mask


def paste_mask(size: int, feather: float = 0.025) -> NDArray[np.float32]:
    """Weight [size, size] with which a repainted face covers the frame: the U with a softened edge, 0 at the border.

    `feather` is the fraction of the side over which the edge fades, inwards and outwards alike: next to the U the
    decoded face shows what was there before. It is shortened where it would reach the crop's border.
    """
    repainted = 1 - face_mask(size)
    columns = np.flatnonzero(repainted.any(axis=0))
    room = max(min(int(columns[0]) - 1, size - 2 - int(columns[-1])), 0)
    kernel = 2 * min(round(size * feather), room) + 1
    soft = cv2.GaussianBlur(repainted, (kernel, kernel), 0, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(soft, dtype=np.float32)
