"""The studio behind the presenter: a soft gradient, lamps out of focus and a vignette."""

from __future__ import annotations

import moderngl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.avatar import shaders
from training.avatar.projection import FRAME_SIZE

TEXTURE_UNIT = 2


class Backdrop:
    """The background picture: the studio, or a whole frame to draw over."""

    def __init__(self, context: moderngl.Context) -> None:
        self._texture = context.texture((FRAME_SIZE, FRAME_SIZE), 3, alignment=1)
        self._texture.repeat_x = self._texture.repeat_y = False
        self._studio = paint_backdrop()
        self._program = context.program(
            vertex_shader=shaders.VERSION + shaders.BACKDROP_VERTEX, fragment_shader=shaders.VERSION + shaders.BACKDROP
        )
        self._program["picture"].value = TEXTURE_UNIT
        corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], "f4")
        self._array = context.vertex_array(self._program, [(context.buffer(corners.tobytes()), "2f", "position")])
        self.show(None)

    def show(self, frame: NDArray[np.uint8] | None) -> None:
        """Use this frame [640, 640, 3] as the background from now on; None restores the studio."""
        picture = self._studio if frame is None else frame
        self._texture.write(np.ascontiguousarray(picture[::-1]).tobytes(), alignment=1)
        self._texture.use(TEXTURE_UNIT)

    def draw(self, view: NDArray[np.float64]) -> None:
        """Fill the bound framebuffer, seen through the clip transform [4, 4] of a view."""
        self._program["view"].write(view.T.astype("f4").tobytes())
        self._array.render(moderngl.TRIANGLE_STRIP)


def paint_backdrop(size: int = FRAME_SIZE, seed: int = 3) -> NDArray[np.uint8]:
    """The backdrop as RGB uint8 [size, size, 3], top row first."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size
    glow = np.exp(-(((x - 0.60) / 0.42) ** 2) - ((y - 0.40) / 0.48) ** 2)[..., None]
    cool = np.array([0.018, 0.028, 0.044]) + np.array([0.020, 0.032, 0.045]) * (1 - y)[..., None]
    light = cool + glow * np.array([0.085, 0.115, 0.145])
    lamps = Image.new("RGB", (size, size))
    for _ in range(26):
        cx, cy = rng.uniform(0, size), size * rng.beta(1.4, 2.2)
        radius = size * rng.uniform(0.018, 0.055)
        warm = rng.random() < 0.6
        power = rng.uniform(0.15, 0.75)
        tone = (255, 176, 104) if warm else (120, 180, 255)
        disc = Image.new("RGB", (size, size))
        box = [cx - radius, cy - radius, cx + radius, cy + radius]
        inner, edge = (tuple(int(c * power * share) for c in tone) for share in (0.55, 0.8))
        ImageDraw.Draw(disc).ellipse(box, fill=inner, outline=edge, width=2)
        disc = disc.filter(ImageFilter.GaussianBlur(size / 130))
        lamps = Image.fromarray(np.maximum(np.asarray(lamps), np.asarray(disc)))
    light = light + (np.asarray(lamps, np.float64) / 255) ** 2.2 * 0.55
    vignette = 1 - 0.55 * np.clip(((x - 0.5) ** 2 + (y - 0.48) ** 2) * 2.1, 0, 1) ** 1.3
    light = light * vignette[..., None]
    shown = np.clip(light, 0, 1) ** (1 / 2.2) * 255 + rng.uniform(-0.8, 0.8, (size, size, 1))
    return np.asarray(np.clip(shown + 0.5, 0, 255)).astype(np.uint8)
