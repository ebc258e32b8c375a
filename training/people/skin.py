"""A person's skin: colour and sheen in one picture that is projected onto the head from the front.

Places are those of the presenter's head (`training.avatar.skin_paint`): the shaders look the paint up there, so that it
follows the features of every shape.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.avatar.skin_paint import EXTENT, ORIGIN, blob, brows, grid, noise
from training.people.identity import Colour, SkinLook

FloatArray = NDArray[np.float32]

SCALE = 240
"""Pixels a unit: twice what a face crop of 192 pixels shows."""
_BEARD_HAIRS, _MOUSTACHE_HAIRS = 20000, 2600


def paint(look: SkinLook, seed: int) -> NDArray[np.uint8]:
    """Skin as RGBA uint8 [H, W, 4], top row first: square root of the linear colour, and sheen with 128 as neutral."""
    rng = np.random.default_rng((28, seed))
    x, y = grid(SCALE)
    shape = (x.shape[0], x.shape[1])
    tone = np.broadcast_to(np.array(look.tone, np.float32), (*shape, 3)).copy()
    mottle = 0.6 * noise(shape, 0.16, rng, SCALE) + 0.5 * noise(shape, 0.05, rng, SCALE)
    pores = 0.7 * noise(shape, 0.014, rng, SCALE) + 0.5 * noise(shape, 0.008, rng, SCALE)
    red = 0.55 * noise(shape, 0.30, rng, SCALE) + 0.5 * noise(shape, 0.08, rng, SCALE)
    rough = 1 + look.wrinkles
    tone *= np.exp(0.026 * rough * mottle + 0.024 * rough * pores)[..., None]
    tone *= np.exp(look.redness * red[..., None] * np.array([0.005, -0.024, -0.024], np.float32))

    def tint(weight: FloatArray, colour: Colour) -> None:
        tone[:] *= 1 - weight[..., None] * (1 - np.array(colour, np.float32))

    def cover(weight: FloatArray, colour: Colour) -> None:
        tone[:] = tone * (1 - weight[..., None]) + weight[..., None] * np.array(colour, np.float32)

    warm = look.redness
    tint(0.60 * warm * blob(x, y, 0.43, 0.00, 0.22, 0.17), (1.00, 0.80, 0.78))
    tint(0.55 * warm * blob(x, y, 0.0, 0.00, 0.12, 0.11), (1.02, 0.82, 0.79))
    tint(0.35 * warm * blob(x, y, 0.0, -0.62, 0.16, 0.10), (1.0, 0.86, 0.83))
    tint((0.30 + 0.5 * look.wrinkles) * blob(x, y, 0.27, 0.155, 0.16, 0.05), (0.84, 0.74, 0.76))
    tint(0.22 * blob(x, y, 0.29, 0.375, 0.20, 0.055), (0.86, 0.74, 0.70))
    tint(0.8 * look.shadow * blob(x, y, 0.29, 0.36, 0.17, 0.07), _shadow_tone(rng))
    spots = np.clip(noise(shape, 0.014, rng, SCALE) - 1.6, 0, 1) * blob(x, y, 0.26, 0.08, 0.34, 0.22)
    tint(np.clip(look.freckles * 1.2 * ndimage.gaussian_filter(spots, 0.8), 0, 1), (0.55, 0.38, 0.30))
    moles = np.clip(noise(shape, 0.03, rng, SCALE) - 3.4, 0, 1) * 3
    tint(np.clip(moles, 0, 0.8), (0.40, 0.26, 0.20))
    tint(np.clip(look.wrinkles * _wrinkles(shape, rng), 0, 0.75), (0.55, 0.42, 0.38))

    lips = np.clip(1.6 * blob(x, y, 0.0, -0.255, 0.30, 0.12), 0, 1)
    jaw, lip = _jaw(x, y), _moustache(x, y)
    grain = 0.5 + 0.5 * np.clip(noise(shape, 0.012, rng, SCALE), -1, 1)
    stubble = look.stubble * np.clip(0.9 * jaw + 0.8 * lip, 0, 1) * (0.30 + 0.45 * grain)
    cover(stubble * 0.62, _between(look.tone, look.hair, 0.55))
    hairs = np.zeros(shape, np.float32)
    if look.beard > 0:
        hairs = np.maximum(hairs, _hairs(jaw, round(_BEARD_HAIRS * look.beard), rng))
    if look.moustache > 0:
        hairs = np.maximum(hairs, _hairs(lip, round(_MOUSTACHE_HAIRS * look.moustache), rng))
    cover(0.93 * hairs, _between(look.hair, (0.01, 0.007, 0.006), 0.35))
    brow = look.brows * brows(shape, rng, SCALE)
    cover(brow, _between(look.hair, (0.01, 0.008, 0.007), 0.4))

    sheen = 0.5 + 0.10 * pores * rough + 0.05 * mottle
    streaks = ndimage.uniform_filter1d(noise(shape, 0.012, rng, SCALE), 11, axis=0)
    sheen = sheen * (1 - lips) + lips * (0.55 + 0.18 * streaks / streaks.std())
    sheen = sheen * (1 - 0.8 * np.maximum(brow, hairs))
    packed = np.concatenate([np.sqrt(np.clip(tone, 0, 1)), np.clip(sheen, 0, 1)[..., None]], axis=-1)
    return np.asarray(packed * 255 + 0.5).astype(np.uint8)


def _between(one: Colour, other: Colour, share: float) -> Colour:
    r, g, b = (a * (1 - share) + c * share for a, c in zip(one, other, strict=True))
    return r, g, b


def _shadow_tone(rng: np.random.Generator) -> Colour:
    tone = 0.35 + 0.5 * rng.dirichlet((2, 2, 2))
    return float(tone[0]), float(tone[1]), float(tone[2])


def _step(low: float, high: float, value: FloatArray) -> FloatArray:
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _jaw(x: FloatArray, y: FloatArray) -> FloatArray:
    """Where a full beard grows: below a line that rises from the lower lip over the cheek to the ear."""
    side = np.abs(x)
    line = -0.375 + 0.62 * np.clip((side - 0.10) / 0.55, 0, 1.2) ** 1.7
    below = _step(-0.05, 0.05, line - y) * _step(-0.78, -0.58, y + 0.30 * side)
    soul = 0.85 * _step(-0.04, 0.02, -0.345 - y) * _step(0.11, 0.05, side)
    lips = _step(0.9, 1.15, ((x / 0.315) ** 2 + ((y + 0.265) / 0.105) ** 2).astype(np.float32))
    return np.asarray(np.maximum(below, soul * below) * lips, np.float32)


def _moustache(x: FloatArray, y: FloatArray) -> FloatArray:
    """Where a moustache grows: from below the nose to beside the corners of the mouth."""
    side = np.abs(x)
    top = -0.105 - 0.42 * np.clip(side - 0.08, 0, 1) ** 1.25
    low = -0.190 - 0.75 * np.clip(side - 0.12, 0, 1) ** 1.15
    within = _step(-0.02, 0.03, top - y) * _step(-0.02, 0.03, y - low) * _step(0.36, 0.22, side)
    return np.asarray(within, np.float32)


def _hairs(region: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """Coverage [H, W] of short hairs, combed downwards and outwards, that begin in a region."""
    flat = region.ravel().astype(np.float64)
    at = rng.choice(flat.size, count, p=flat / flat.sum())
    rows, columns = np.divmod(at, region.shape[1])
    x = ORIGIN[0] + columns / SCALE
    along = np.radians(-90 + 38 * np.clip(x / 0.5, -1, 1) + rng.normal(0, 22, count))
    reach = rng.uniform(0.012, 0.034, count) * SCALE
    tips = np.stack([columns + np.cos(along) * reach, rows - np.sin(along) * reach], axis=1)
    picture = np.zeros(region.shape, np.uint8)
    shades = rng.uniform(60, 235, count)
    for start, tip, shade in zip(np.stack([columns, rows], 1), tips, shades, strict=True):
        ends = [(round(float(p[0]) * 8), round(float(p[1]) * 8)) for p in (start, tip)]
        cv2.line(picture, ends[0], ends[1], float(shade), 1, cv2.LINE_AA, 3)
    hairs = picture.astype(np.float32) / 255
    under = cv2.GaussianBlur(hairs, (0, 0), 3.0)
    return np.asarray(np.clip(0.75 * hairs + 0.55 * under, 0, 1), np.float32)


def _wrinkles(shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Lines of age [H, W]: forehead, crow's feet, from nose to mouth and below, and under the eyes."""
    lines = np.zeros(shape, np.float32)

    def draw(points: NDArray[np.float64], strength: float) -> None:
        for side in (-1, 1):
            place = points * np.array([side, 1.0])
            pixels = np.stack(
                [(place[:, 0] - ORIGIN[0]) * SCALE, (ORIGIN[1] + EXTENT[1] - place[:, 1]) * SCALE], axis=1
            )
            layer = np.zeros(shape, np.float32)
            cv2.polylines(layer, [np.round(pixels * 8).astype(np.int32)], False, strength, 2, cv2.LINE_AA, 3)
            np.maximum(lines, layer, out=lines)

    t = np.linspace(0, 1, 14)
    for height in (0.64, 0.72, 0.80):
        wave = 0.012 * np.sin(7 * t + rng.uniform(0, 6)) + 0.02 * t
        draw(np.stack([0.36 * t, height + rng.uniform(-0.015, 0.015) + wave], 1), float(rng.uniform(0.25, 0.6)))
    draw(np.stack([0.155 + 0.17 * t**0.8, -0.02 - 0.27 * t], 1), float(rng.uniform(0.6, 1.0)))
    draw(np.stack([0.285 + 0.03 * t, -0.33 - 0.16 * t], 1), float(rng.uniform(0.3, 0.8)))
    for turn in (0.32, 0.05, -0.25):
        draw(np.stack([0.475 + 0.12 * t, 0.27 + turn * 0.12 * t], 1), float(rng.uniform(0.3, 0.7)))
    draw(np.stack([0.14 + 0.24 * t, 0.175 - 0.035 * np.sin(np.pi * t)], 1), float(rng.uniform(0.4, 0.8)))
    return np.asarray(cv2.GaussianBlur(lines, (0, 0), 1.4) * 1.3, np.float32)
