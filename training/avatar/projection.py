"""From head space to pixels: the camera, the rotation of the head, and crops by an affine transform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.avatar.motion import Pose

Matrix = NDArray[np.float64]

FRAME_SIZE = 640
TEMPLATE_SIZE = (210, 280)
CAMERA = np.array([0.0, -0.20, 10.4])
FOCAL = 4.45
PIVOT = np.array([0.0, -0.45, -0.10])


def camera_clip() -> Matrix:
    """Perspective clip transform [4, 4] of the portrait lens."""
    near, far = 3.0, 30.0
    projection = np.zeros((4, 4))
    projection[0, 0] = projection[1, 1] = FOCAL
    projection[2, 2] = (far + near) / (near - far)
    projection[2, 3] = 2 * far * near / (near - far)
    projection[3, 2] = -1
    view = np.eye(4)
    view[:3, 3] = -CAMERA
    return projection @ view


def head_transform(pose: Pose) -> Matrix:
    """Rigid motion [4, 4] of the head about the top of the neck."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (pose.yaw, pose.pitch, pose.roll) for f in (np.cos, np.sin))
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    rotation = roll @ yaw @ pitch
    transform = np.eye(4)
    transform[:3, :3] = rotation
    transform[:3, 3] = PIVOT - rotation @ PIVOT + np.array([pose.sway_x, pose.sway_y, 0.0])
    return transform


def crop_view(matrix: Matrix, size: int) -> Matrix:
    """[2, 3] from frame pixels to those of the square crop, for an alignment matrix to the 210×280 template.

    Both sides use OpenCV's convention (integers at pixel centres), as `cv2.resize` of the template does.
    """
    scale = np.array([size / TEMPLATE_SIZE[0], size / TEMPLATE_SIZE[1]])
    view: Matrix = np.asarray(matrix, np.float64) * scale[:, None]
    view[:, 2] += 0.5 * scale - 0.5
    return view


def view_clip(view: Matrix | None, size: tuple[int, int]) -> Matrix:
    """The clip-space transform [4, 4] of an affine [2, 3] from frame pixels to a picture of `size` (width, height)."""
    if view is None:
        return np.eye(4)
    to_pixels = np.array([[FRAME_SIZE / 2, 0, FRAME_SIZE / 2], [0, -FRAME_SIZE / 2, FRAME_SIZE / 2], [0, 0, 1]])
    width, height = size
    to_clip = np.array([[2 / width, 0, -1], [0, -2 / height, 1], [0, 0, 1]])
    corner = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    affine = np.vstack([view, [0, 0, 1]])
    plane = to_clip @ corner @ affine @ np.linalg.inv(corner) @ to_pixels
    clip = np.eye(4)
    clip[:2, :2] = plane[:2, :2]
    clip[:2, 3] = plane[:2, 2]
    return clip
