"""Faces that carry numbers: speech and frame as light and dark cells, read back from the received picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

RESOLUTION = 256
# Inside the part of the crop that is pasted: 3 rows of 11 cells of 16 pixels. The first row alternates, and its
# contrast is the face's opacity; the others hold 22 bits.
_LEFT, _TOP, _CELL = 40, 140, 16
_ROWS, _COLUMNS = 3, 11
_SPEECH_BITS, _FRAME_BITS, _CHECK_BITS = 10, 10, 2
_SKIN = 120
_READABLE = 100.0  # half of a whole face's contrast; below it nothing can be read
MAX_SPEECHES = 1 << _SPEECH_BITS
_Numbers = TypeVar("_Numbers", int, NDArray[np.int64])


@dataclass(frozen=True)
class FacePlace:
    """Where the square face lies in every frame: its left upper corner and its side, in pixels."""

    left: float
    top: float
    side: float

    @classmethod
    def within(cls, width: int, height: int) -> FacePlace:
        """A place about where the head of a standing person is."""
        side = 0.55 * min(width, height)
        return cls(0.5 * (width - side), max(0.4 * height - side / 2, 64.0), side)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """From frame pixels to face crop pixels, [2, 3]."""
        scale = RESOLUTION / self.side
        return np.array([[scale, 0, -self.left * scale], [0, scale, -self.top * scale]])


def draw_face(speech: int, frame: int) -> NDArray[np.uint8]:
    """A face uint8 [256, 256, 3] that carries both numbers."""
    value = speech | frame << _SPEECH_BITS | _check(speech, frame) << (_SPEECH_BITS + _FRAME_BITS)
    bits = [column % 2 == 0 for column in range(_COLUMNS)]
    bits += [bool(value >> bit & 1) for bit in range((_ROWS - 1) * _COLUMNS)]
    cells = np.where(np.array(bits).reshape(_ROWS, _COLUMNS), 235, 20).astype(np.uint8)
    face = np.full((RESOLUTION, RESOLUTION, 3), _SKIN, np.uint8)
    grid = np.repeat(np.repeat(cells, _CELL, axis=0), _CELL, axis=1)
    face[_TOP : _TOP + _ROWS * _CELL, _LEFT : _LEFT + _COLUMNS * _CELL] = grid[:, :, None]
    return face


@dataclass(frozen=True)
class FaceCodes:
    """What n received pictures show: the face's contrast [n], its numbers [n], and whether to believe them [n]."""

    contrast: NDArray[np.float32]
    speech: NDArray[np.int64]
    frame: NDArray[np.int64]
    valid: NDArray[np.bool_]


def read_faces(luma: NDArray[np.uint8], place: FacePlace) -> FaceCodes:
    """Reads pictures uint8 [n, H, W]."""
    scale = place.side / RESOLUTION
    means = np.empty((_ROWS, _COLUMNS, len(luma)), np.float32)
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            x = place.left + (_LEFT + (column + 0.5) * _CELL) * scale
            y = place.top + (_TOP + (row + 0.5) * _CELL) * scale
            half = max(1, round(0.25 * _CELL * scale))
            part = luma[:, round(y) - half : round(y) + half, round(x) - half : round(x) + half]
            means[row, column] = part.mean(axis=(1, 2))
    light, dark = means[0, ::2].mean(axis=0), means[0, 1::2].mean(axis=0)
    bits = means[1:].reshape(-1, len(luma)) > (light + dark) / 2
    values = (bits.astype(np.int64) << np.arange(len(bits))[:, None]).sum(axis=0)
    speech = values & (MAX_SPEECHES - 1)
    frame = values >> _SPEECH_BITS & ((1 << _FRAME_BITS) - 1)
    valid = values >> (_SPEECH_BITS + _FRAME_BITS) == _check(speech, frame)
    return FaceCodes(light - dark, speech, frame, valid & (light - dark > _READABLE))


def _check(speech: _Numbers, frame: _Numbers) -> _Numbers:
    """Two bits that a single wrong bit changes: all pairs of bits of both numbers, added without carry."""
    value = speech ^ frame
    check = value & 0
    for shift in range(0, max(_SPEECH_BITS, _FRAME_BITS), _CHECK_BITS):
        check = check ^ (value >> shift)
    return check & ((1 << _CHECK_BITS) - 1)
