"""A test pattern over picture and sound, so that whoever receives the stream can tell what was lost, late or apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streaming.config import FPS, FRAME_SAMPLES, SAMPLE_RATE_HZ

BITS = 24
CELL = 16
FLASH = (slice(CELL, 3 * CELL), slice(0, 4 * CELL))
"""Rows and columns that are white in the frames with a beep, and black in all others."""
BEEP_HZ = 1000

_BEEP = (np.sin(2 * np.pi * BEEP_HZ * np.arange(FRAME_SAMPLES) / SAMPLE_RATE_HZ) * 20_000).astype(np.int16).tobytes()


def stamp(picture: NDArray[np.uint8], tick: int) -> None:
    """Draws `tick` in place: 24 cells of 16 pixels in the top row, lowest bit first, and a flash each second.

    Pictures narrower than 384 pixels hold the lower bits only.
    """
    cells = np.array([tick >> bit & 1 for bit in range(min(BITS, picture.shape[1] // CELL))], np.uint8) * 255
    picture[:CELL, : len(cells) * CELL] = np.repeat(cells, CELL)[None, :, None]
    picture[FLASH] = 255 if tick % FPS == 0 else 0


def read_stamp(luma: NDArray[np.uint8]) -> tuple[int, bool]:
    """The number and the flash in a picture uint8 [H, W]."""
    count = min(BITS, luma.shape[1] // CELL)
    middle = luma[CELL // 4 : 3 * CELL // 4, : count * CELL].reshape(CELL // 2, count, CELL)[:, :, 4:12]
    bits = middle.mean(axis=(0, 2)) > 128
    return int((bits << np.arange(count)).sum()), bool(luma[FLASH].mean() > 128)


def sound(samples: bytes, tick: int) -> bytes:
    """s16le [1920]: a 1 kHz tone in the frame of the flash, else the samples as they are."""
    return _BEEP if tick % FPS == 0 else samples
