"""The painted skin: colour and sheen in one picture, projected onto the face from the front."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

FloatArray = NDArray[np.float32]

ORIGIN = (-1.30, -1.70)
EXTENT = (2.60, 3.10)
PIXELS_PER_UNIT = 380
BASE_TONE = (0.560, 0.330, 0.235)
BROW_TONE = (0.034, 0.019, 0.013)


def grid(scale: float = PIXELS_PER_UNIT) -> tuple[FloatArray, FloatArray]:
    """x and y in head space of each pixel of a picture with `scale` pixels a unit."""
    width, height = (round(side * scale) for side in EXTENT)
    x = ORIGIN[0] + (np.arange(width, dtype=np.float32) + 0.5) / scale
    y = ORIGIN[1] + EXTENT[1] - (np.arange(height, dtype=np.float32) + 0.5) / scale
    places = np.meshgrid(x, y)
    return places[0], places[1]


def noise(shape: tuple[int, int], cell: float, rng: np.random.Generator, scale: float = PIXELS_PER_UNIT) -> FloatArray:
    """Smooth noise of zero mean and unit deviation whose blobs are about `cell` units wide."""
    step = max(1, round(cell * scale))
    coarse = rng.normal(size=(shape[0] // step + 3, shape[1] // step + 3)).astype(np.float32)
    image = Image.fromarray(coarse).resize((coarse.shape[1] * step, coarse.shape[0] * step), Image.Resampling.BICUBIC)
    blobs = np.asarray(image)[step : step + shape[0], step : step + shape[1]]
    return np.asarray((blobs - blobs.mean()) / blobs.std(), np.float32)


def blob(x: FloatArray, y: FloatArray, cx: float, cy: float, rx: float, ry: float) -> FloatArray:
    """A soft ellipse, mirrored to both sides of the face."""
    return np.exp(-(((np.abs(x) - cx) / rx) ** 2) - ((y - cy) / ry) ** 2).astype(np.float32)


def _brow_line(s: FloatArray, side: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Centre line of a brow from its inner (s = 0) to its outer end (s = 1): x, y and half height."""
    x = 0.105 + 0.415 * s
    y = 0.502 + 0.078 * np.sin(np.clip(s, 0, 1) ** 0.95 * 2.40) - 0.014 * s
    half = 0.042 * np.clip(1.12 - s, 0, 1) ** 0.55 * np.clip(0.55 + s * 3, 0, 1)
    return side * x, y, half


def brows(shape: tuple[int, int], rng: np.random.Generator, units: float = PIXELS_PER_UNIT) -> FloatArray:
    """Coverage of the brows' hairs in 0..1."""
    scale = 2
    image = Image.new("L", (shape[1] * scale, shape[0] * scale))
    draw = ImageDraw.Draw(image)

    def pixel(x: float, y: float) -> tuple[float, float]:
        unit = units * scale
        return (x - ORIGIN[0]) * unit, (ORIGIN[1] + EXTENT[1] - y) * unit

    for side in (-1, 1):
        for _ in range(430):
            s = float(rng.beta(1.05, 1.15))
            cx, cy, half = (float(v[0]) for v in _brow_line(np.array([s], np.float32), side))
            offset = float(np.clip(rng.normal(0, 0.52), -1.1, 1.1))
            # Hairs stand upright at the inner end; further out they follow the arch, towards its middle line.
            lean = np.radians(78 - 72 * min(1.0, s * 1.6) - offset * 24 + rng.normal(0, 8))
            reach = float(rng.uniform(0.045, 0.082) * (1 - 0.35 * s))
            x0, y0 = cx, cy + offset * half
            bend = np.radians(12)
            points = [(x0, y0)]
            for step in range(4):
                a = lean - bend * step * 0.5
                last = points[-1]
                points.append((last[0] + side * np.cos(a) * reach / 4, last[1] + np.sin(a) * reach / 4))
            shade = int(rng.uniform(125, 238) * (0.45 + 0.55 * min(1.0, s * 4)))
            draw.line([pixel(*p) for p in points], fill=shade, width=3, joint="curve")
    hairs = image.filter(ImageFilter.GaussianBlur(1.1)).resize((shape[1], shape[0]), Image.Resampling.BOX)
    under = image.filter(ImageFilter.GaussianBlur(13)).resize((shape[1], shape[0]), Image.Resampling.BOX)
    return np.clip(np.asarray(hairs, np.float32) / 255 + 0.32 * np.asarray(under, np.float32) / 255, 0, 0.90)


def paint_skin(seed: int = 11) -> NDArray[np.uint8]:
    """Skin as RGBA uint8 [H, W, 4], top row first: square root of the linear colour, and sheen with 128 as neutral.

    Covers `ORIGIN` to `ORIGIN + EXTENT` of head space in x and y.
    """
    rng = np.random.default_rng(seed)
    x, y = grid()
    shape = (x.shape[0], x.shape[1])
    tone = np.broadcast_to(np.array(BASE_TONE, np.float32), (*shape, 3)).copy()
    mottle = 0.6 * noise(shape, 0.16, rng) + 0.5 * noise(shape, 0.05, rng)
    pores = 0.7 * noise(shape, 0.014, rng) + 0.5 * noise(shape, 0.007, rng)
    red = 0.55 * noise(shape, 0.30, rng) + 0.5 * noise(shape, 0.08, rng)
    tone *= np.exp(0.022 * mottle + 0.020 * pores)[..., None]
    tone *= np.exp(red[..., None] * np.array([0.004, -0.020, -0.020], np.float32))

    def tint(weight: FloatArray, colour: tuple[float, float, float]) -> None:
        tone[:] *= 1 - weight[..., None] * (1 - np.array(colour, np.float32))

    tint(0.60 * blob(x, y, 0.43, 0.00, 0.22, 0.17), (1.00, 0.80, 0.78))
    tint(0.55 * blob(x, y, 0.0, 0.00, 0.12, 0.11), (1.02, 0.82, 0.79))
    tint(0.35 * blob(x, y, 0.0, -0.62, 0.16, 0.10), (1.0, 0.86, 0.83))
    tint(0.45 * blob(x, y, 0.27, 0.155, 0.16, 0.05), (0.90, 0.80, 0.80))
    tint(0.22 * blob(x, y, 0.29, 0.375, 0.20, 0.055), (0.86, 0.74, 0.70))
    tint(0.30 * blob(x, y, 0.0, 0.75, 0.5, 0.16), (1.04, 1.02, 1.0))
    spots = np.clip(noise(shape, 0.011, rng) - 2.3, 0, 1) * (blob(x, y, 0.30, 0.05, 0.26, 0.12))
    tint(0.5 * ndimage.gaussian_filter(spots, 1.0), (0.62, 0.45, 0.38))
    hairs = brows(shape, rng)[..., None]
    tone = np.asarray(tone * (1 - hairs) + np.array(BROW_TONE, np.float32) * hairs, np.float32)

    sheen = 0.5 + 0.10 * pores + 0.05 * mottle
    creases = noise((shape[0], shape[1]), 0.012, rng)
    wrinkles = ndimage.uniform_filter1d(creases, 19, axis=0)
    lips = np.clip(1.6 * blob(x, y, 0.0, -0.255, 0.30, 0.12), 0, 1)
    sheen = sheen * (1 - lips) + lips * (0.55 + 0.35 * wrinkles / wrinkles.std() * 0.5)
    sheen = sheen * (1 - 0.8 * hairs[..., 0])
    packed = np.concatenate([np.sqrt(np.clip(tone, 0, 1)), np.clip(sheen, 0, 1)[..., None]], axis=-1)
    return np.asarray(packed * 255 + 0.5).astype(np.uint8)
