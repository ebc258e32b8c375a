"""A crossfade of two pictures of one person in which the heads meet, so that none is seen twice."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]

_BROWS, _NOSE = slice(17, 27), 33
_FOREHEAD = 0.7
"""Above the brows, in distances from the nose to the brows: no landmark is there, and the skin moves as they do."""
_SPREAD = 0.16
"""In radii of the face: how far around it a landmark moves the picture, as the deviation of a Gaussian."""
_STILL = 0.1
"""The weight of staying where it is, against one of each landmark at its own place."""
_REACH = 1.8
_CELL = 12
_LARGEST_STEP = 0.6
"""In radii of the face: heads that are farther apart don't meet, since hair and shoulders would be torn."""


def crossfaded(
    main: Picture,
    other: Picture,
    other_share: float,
    main_points: Points | None = None,
    other_points: Points | None = None,
) -> Picture:
    """The two pictures [H, W, 3], the other one with `other_share` over the main one; a new picture.

    With the landmarks [68, 2] of both, each head is moved towards the other, as far as the other has a share in the
    picture. Without them, where some are NaN, or where the heads are far apart, the pictures are blended as they are.
    """
    mixed = np.asarray(cv2.addWeighted(other, other_share, main, 1 - other_share, 0), np.uint8)
    if main_points is None or other_points is None:
        return mixed
    height, width = main.shape[:2]
    field = _displacement(np.asarray(main_points, np.float64), np.asarray(other_points, np.float64), (width, height))
    if field is None:
        return mixed
    (left, top, right, bottom), moves = field
    x, y = np.meshgrid(np.arange(right - left, dtype=np.float32), np.arange(bottom - top, dtype=np.float32))
    box = slice(top, bottom), slice(left, right)
    moved = [
        cv2.remap(picture[box], x + share * moves[..., 0], y + share * moves[..., 1], cv2.INTER_LINEAR,
                  borderMode=cv2.BORDER_REPLICATE)
        for picture, share in ((main, -other_share), (other, 1 - other_share))
    ]  # fmt: skip
    mixed[box] = cv2.addWeighted(moved[1], other_share, moved[0], 1 - other_share, 0)
    return mixed


def _displacement(
    points: Points, others: Points, size: tuple[int, int]
) -> tuple[tuple[int, int, int, int], NDArray[np.float32]] | None:
    """A box (left, top, right, bottom) around the face, and for each of its pixels the way to the other picture."""
    if not (np.isfinite(points).all() and np.isfinite(others).all()):
        return None
    centre = (points.mean(axis=0) + others.mean(axis=0)) / 2
    radius = float(np.linalg.norm(points - points.mean(axis=0), axis=1).max())
    if radius < _CELL or np.linalg.norm(others - points, axis=1).max() > _LARGEST_STEP * radius:
        return None
    low = np.maximum(np.floor(centre - _REACH * radius), 0).astype(int)
    high = np.minimum(np.ceil(centre + _REACH * radius), size).astype(int)
    width, height = (high - low).tolist()
    if width < _CELL or height < _CELL:
        return None
    columns, rows = -(-width // _CELL), -(-height // _CELL)
    x = low[0] + (np.arange(columns) + 0.5) * width / columns - 0.5
    y = low[1] + (np.arange(rows) + 0.5) * height / rows - 0.5
    points, others = _with_forehead(points), _with_forehead(others)
    middles = (points + others) / 2
    across = np.exp(-(((x[:, None] - middles[:, 0]) / (_SPREAD * radius)) ** 2) / 2)
    down = np.exp(-(((y[:, None] - middles[:, 1]) / (_SPREAD * radius)) ** 2) / 2)
    near = down[:, None] * across[None]  # of each landmark at each place: [rows, columns, landmarks]
    moves = near @ (others - points) / (near.sum(axis=-1, keepdims=True) + _STILL)
    field = cv2.resize(moves.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return (int(low[0]), int(low[1]), int(high[0]), int(high[1])), np.asarray(field, np.float32)


def _with_forehead(points: Points) -> Points:
    """Landmarks, and others above the brows."""
    brows = points[_BROWS]
    return np.concatenate([points, brows + _FOREHEAD * (brows.mean(axis=0) - points[_NOSE])])
