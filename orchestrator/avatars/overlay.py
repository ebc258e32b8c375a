"""A picture of how an avatar was understood: landmarks, the face's crop, and where it is repainted."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from latentsync.avatar import AvatarError, PreparedAvatar

_CROP, _RECTANGLE, _POINT, _MASK = (255, 220, 0), (255, 255, 255), (0, 255, 0), np.array([255, 0, 120], np.float32)
_MASK_SHARE = 0.35


def overlay(avatar: PreparedAvatar, index: int) -> NDArray[np.uint8]:
    """Frame `index` RGB uint8 [H, W, 3] with the 68 landmarks (green), the crop that the model sees (yellow), the
    rectangle that pasting touches (white), and the soft mask (pink); a frame on which nobody can speak as it is.

    Raises AvatarError when there is no such frame.
    """
    if not 0 <= index < avatar.frame_count:
        raise AvatarError(f"{avatar.name} has frames 0 to {avatar.frame_count - 1}, and no frame {index}")
    picture = np.array(avatar.frame(index))
    if not avatar.speakable[index]:
        return picture
    paste_back = avatar.paste_back()
    left, top, width, height = paste_back.rectangle(index)
    region = picture[top : top + height, left : left + width]
    share = _MASK_SHARE * paste_back.weight(index)[..., None].astype(np.float32) / 255
    region[:] = np.rint(region * (1 - share) + _MASK * share).astype(np.uint8)
    line = max(1, avatar.frame_size[0] // 400)
    cv2.rectangle(picture, (left, top), (left + width - 1, top + height - 1), _RECTANGLE, line)
    cv2.polylines(picture, [_crop_corners(avatar, index)], isClosed=True, color=_CROP, thickness=line)
    if avatar.landmarks is not None and np.isfinite(avatar.landmarks[index]).all():
        for x, y in np.rint(avatar.landmarks[index]).astype(int).tolist():
            cv2.circle(picture, (x, y), line, _POINT, -1)
    return picture


def overlay_png(avatar: PreparedAvatar, index: int | None) -> bytes:
    """The overlay of a frame as PNG (None: the first frame that can speak); raises AvatarError as `overlay` does."""
    index = int(avatar.speakable.argmax()) if index is None else index
    written, data = cv2.imencode(".png", cv2.cvtColor(overlay(avatar, index), cv2.COLOR_RGB2BGR))
    if not written:
        raise AvatarError(f"frame {index} of {avatar.name} can't be encoded as PNG")
    return data.tobytes()


def _crop_corners(avatar: PreparedAvatar, index: int) -> NDArray[np.int32]:
    side = avatar.resolution
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], dtype=np.float64)
    back = cv2.invertAffineTransform(np.asarray(avatar.matrices[index]))
    return np.asarray(np.rint(corners @ back[:, :2].T + back[:, 2]), dtype=np.int32)
