"""Clips of a red square, in the place of a face, and an encoder of latents without a model."""

import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.errors import InferenceFailed
from speech.audio.decoder import ffmpeg_binary

FRAMES = 10


class CountingEncoder:
    """Latents without a model; fails when told."""

    def __init__(self) -> None:
        self.pictures = 0
        self.failing = False
        self.decoded: list[NDArray[Any]] = []

    async def encoder_batch(self) -> int:
        return 4

    async def encode(self, pixels: NDArray[Any]) -> NDArray[Any]:
        assert len(pixels) <= 4
        self.pictures += len(pixels)
        if self.failing:
            raise InferenceFailed("out of memory")
        return np.repeat(pixels[:, :1, ::8, ::8], 4, axis=1)

    async def decode(self, latents: NDArray[Any]) -> NDArray[Any]:
        side = 8 * latents.shape[-1]
        self.decoded.append(latents)
        return np.zeros((len(latents), side, side, 3), np.uint8)


def make_clip(
    path: Path, hidden: Iterable[int] = (), frames: int = FRAMES, size: tuple[int, int] = (160, 120), rate: int = 25,
    column: Callable[[int], float] = lambda frame: 60 + frame, marked: bool = True,
) -> Path:  # fmt: skip
    """Frames of a red square on green that moves, absent in the frames `hidden`."""
    width, height = size
    clip = np.full((frames, height, width, 3), (0, 128, 0), np.uint8)
    if marked:  # no two frames are the same
        clip[range(frames), 0, range(frames)] = (0, 0, 255)
    for frame in set(range(frames)) - set(hidden):
        x = round(column(frame))
        clip[frame, 40:70, x : x + 30] = (255, 0, 0)
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate), "-i", "pipe:0"]
    lossless = ["-c:v", "libx264rgb", "-qp", "0", "-preset", "ultrafast"]
    subprocess.run([ffmpeg_binary(), "-v", "error", "-y", *raw, *lossless, str(path)], input=clip.tobytes(), check=True)
    return path
