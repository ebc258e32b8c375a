"""Pastes generated faces back into an avatar's frames, touching nothing but the face's rectangle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Scalar = TypeVar("Scalar", bound=np.generic)

# Of LatentSync 1.0's paste-back: the square root of the face's area over the edge's width.
_EDGE_SHARE = 20


@dataclass(frozen=True, eq=False)
class Placement:
    """Where one frame's face is pasted: its rectangle, the transform to the face crop, and each pixel's weight.

    The transform starts `lead` columns left of the rectangle. `covered` is set if the whole crop is pasted: 255 inside
    the crop, less towards its border.
    """

    left: int
    top: int
    lead: int
    to_face: NDArray[np.float64]
    weight: NDArray[np.uint8]  # 255 = the face alone
    covered: NDArray[np.uint8] | None = None

    @property
    def rectangle(self) -> tuple[int, int, int, int]:
        """Left, top, width, height in pixels; may be empty."""
        height, width = self.weight.shape
        return self.left, self.top, width, height


class PasteBack:
    """Everything about pasting that does not depend on the generated face, prepared once for an avatar's frames."""

    def __init__(
        self,
        matrices: NDArray[np.float64],
        frame_size: tuple[int, int],
        face_size: int | tuple[int, int],
        mask: NDArray[np.float32] | None = None,
    ) -> None:
        """Prepares rectangles and soft masks for N frames.

        Takes matrices [N, 2, 3], which map a frame's pixels to its face crop's (NaN: this frame shows no face, and is
        left alone); frame_size and face_size as (width, height), one number for a square face; mask, the weight of the
        face crop's pixels (1 = paste, 0 = leave), float32 [face height, face width]. Without a mask the whole crop is
        pasted with LatentSync 1.0's own eroded and blurred edge. Raises ValueError for shapes that do not fit.
        """
        _check_matrices(matrices)
        self.frame_size = frame_size
        self.face_size = (face_size, face_size) if isinstance(face_size, int) else face_size
        if mask is not None and mask.shape != self.face_size[::-1]:
            raise ValueError(f"the mask must have the face's shape {self.face_size[::-1]}; got {mask.shape}")
        self._placements = [place(matrix, frame_size, self.face_size, mask) for matrix in matrices]

    @classmethod
    def from_masks(
        cls,
        matrices: NDArray[np.float64],
        frame_size: tuple[int, int],
        face_size: int,
        rectangles: NDArray[np.int32],
        masks: NDArray[np.uint8],
    ) -> PasteBack:
        """Takes rectangles [N, 4] (left, top, width, height) and soft masks that a PasteBack with a mask has prepared.

        `masks` holds the weights of all rectangles one after another, row by row, and may be memory-mapped. Raises
        ValueError when they do not fit.
        """
        _check_matrices(matrices)
        ends = np.cumsum(rectangles[:, 2].astype(np.int64) * rectangles[:, 3])
        if rectangles.shape != (len(matrices), 4) or len(masks) != (ends[-1] if len(ends) else 0):
            raise ValueError(f"{len(matrices)} matrices, {len(rectangles)} rectangles and {len(masks)} mask pixels")
        paste_back = cls(matrices[:0], frame_size, face_size)
        for matrix, (left, top, width, height), end in zip(matrices, rectangles.tolist(), ends.tolist(), strict=True):
            weight = masks[end - width * height : end].reshape(height, width)
            paste_back._placements.append(Placement(left, top, 0, _moved(_rounded(matrix), left, top), weight))
        return paste_back

    def __len__(self) -> int:
        return len(self._placements)

    def rectangle(self, index: int) -> tuple[int, int, int, int]:
        """The only part of frame `index` that pasting may change: left, top, width, height in pixels; may be empty."""
        return self._placements[index].rectangle

    def weight(self, index: int) -> NDArray[np.uint8]:
        """How much of the face covers each pixel of frame `index`'s rectangle, uint8 [height, width], 255 = fully."""
        return self._placements[index].weight

    def paste(self, frame: Picture, face: Picture, index: int, opacity: float = 1.0) -> None:
        """Pastes a face [h, w, 3] uint8 into frame `index` [H, W, 3] uint8, in place.

        `opacity` (0 to 1) crossfades between the frame as it is and the face. Pixels outside the soft mask keep their
        bits. Raises ValueError when frame or face are not of the prepared size.
        """
        if frame.shape != (*self.frame_size[::-1], 3) or face.shape != (*self.face_size[::-1], 3):
            raise ValueError(
                f"prepared for frames {self.frame_size} and faces {self.face_size} (width, height); "
                f"got shapes {frame.shape} and {face.shape}"
            )
        placement = self._placements[index]
        left, top, width, height = placement.rectangle
        if opacity <= 0 or not height or not width:
            return
        warped = _warp_back(face, placement.to_face, (placement.lead + width, height))[:, placement.lead :]
        if placement.covered is not None:
            warped = cv2.multiply(warped, cv2.merge([placement.covered] * 3), scale=1 / 255)
        weight = np.multiply(placement.weight, min(opacity, 1.0) / 255, dtype=np.float32)
        region = frame[top : top + height, left : left + width]
        region[:] = cv2.blendLinear(warped, region, weight, 1 - weight)


def place(
    matrix: NDArray[np.float64],
    frame_size: tuple[int, int],
    face_size: tuple[int, int],
    mask: NDArray[np.float32] | None,
) -> Placement:
    """Prepares one frame; arguments as for PasteBack."""
    nothing = Placement(0, 0, 0, matrix, np.zeros((0, 0), np.uint8))
    if not np.isfinite(matrix).all():
        return nothing
    matrix = _rounded(matrix)
    left, top, width, height = _bounds(matrix, frame_size, face_size)
    if not width or not height:
        return nothing
    if mask is None:
        # OpenCV's rounding of source coordinates depends on the distance from the first column: only a warp that starts
        # at the frame's first column rounds as the original does, which is visible at hard edges.
        to_face = _moved(matrix, 0, top)
        whole = np.ones(face_size[::-1], dtype=np.float32)
        soft, inner = _soft_edge(_warp_back(whole, to_face, (left + width, height))[:, left:])
        return Placement(left, top, left, to_face, _as_uint8(soft), _as_uint8(inner))
    weight = _as_uint8(_warp_back(mask, _moved(matrix, left, top), (width, height)))
    x, y, width, height = cv2.boundingRect(weight)
    weight = np.ascontiguousarray(weight[y : y + height, x : x + width])
    return Placement(left + x, top + y, 0, _moved(matrix, left + x, top + y), weight)


def _check_matrices(matrices: NDArray[np.float64]) -> None:
    if matrices.ndim != 3 or matrices.shape[1:] != (2, 3):
        raise ValueError(f"matrices must have the shape [N, 2, 3]; got {list(matrices.shape)}")


def _rounded(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix as it is after the original's two inversions, so that source coordinates round as there."""
    if not np.isfinite(matrix).all():
        return matrix
    return np.asarray(cv2.invertAffineTransform(cv2.invertAffineTransform(np.asarray(matrix, np.float64))))


def _bounds(
    matrix: NDArray[np.float64], frame_size: tuple[int, int], face_size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The part of the frame between the face crop's corners, with a margin of a pixel for interpolation."""
    width, height = face_size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float64)
    inverse = cv2.invertAffineTransform(matrix)
    spanned = corners @ inverse[:, :2].T + inverse[:, 2]
    low = np.maximum(np.floor(spanned.min(axis=0)) - 1, 0).astype(int)
    high = np.minimum(np.ceil(spanned.max(axis=0)) + 2, frame_size).astype(int)
    extent = np.maximum(high - low, 0)
    return int(low[0]), int(low[1]), int(extent[0]), int(extent[1])


def _as_uint8(weight: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.round(weight * 255), dtype=np.uint8)


def _moved(matrix: NDArray[np.float64], left: int, top: int) -> NDArray[np.float64]:
    """The same mapping for a picture whose origin lies at (left, top)."""
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (left, top)
    return moved


def _warp_back(picture: NDArray[Scalar], to_face: NDArray[np.float64], size: tuple[int, int]) -> NDArray[Scalar]:
    warped: NDArray[Scalar] = cv2.warpAffine(picture, to_face, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return warped


def _soft_edge(covered: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """LatentSync 1.0's edge: two pixels eroded, then a twentieth of the face's size eroded and blurred.

    Returns the blurred edge, and the eroded cover by which the face is multiplied: the blur reaches a little beyond it,
    and darkens the frame there.
    """
    inner = cv2.erode(covered, np.ones((2, 2), np.uint8))
    edge = int(float(inner.sum()) ** 0.5) // _EDGE_SHARE
    if edge == 0:
        return np.asarray(inner, dtype=np.float32), np.asarray(inner, dtype=np.float32)
    centre = cv2.erode(inner, np.ones((2 * edge, 2 * edge), np.uint8))
    soft = cv2.GaussianBlur(centre, (2 * edge + 1, 2 * edge + 1), 0)
    return np.asarray(soft, dtype=np.float32), np.asarray(inner, dtype=np.float32)
