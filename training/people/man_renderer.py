"""Renders the demo's second presenter in the studio and the light of the first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training.avatar import projection
from training.avatar.backdrop import paint_backdrop
from training.avatar.motion import FaceState, Pose, talking_state
from training.people.identity import Colour
from training.people.man import man
from training.people.renderer import PersonRenderer, Studio
from training.people.setting import Camera, Light, Take

Picture = NDArray[np.uint8]


def _scaled(colour: Colour, factor: float) -> Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


# The same as shaders.STUDIO_LIGHT.
STUDIO_LIGHT = Light(
    key=(-0.52, 0.50, 0.69),
    key_colour=_scaled((1.0, 0.93, 0.85), 1.62),
    fill=(0.80, 0.10, 0.59),
    fill_colour=_scaled((0.80, 0.88, 1.0), 0.26),
    rims=((0.80, 0.30, -0.52), (-0.86, 0.22, -0.46)),
    rim_colours=(_scaled((1.0, 0.88, 0.74), 2.2), _scaled((0.62, 0.80, 1.0), 1.3)),
    sky=_scaled((0.62, 0.68, 0.80), 0.36),
    ground=_scaled((0.60, 0.46, 0.40), 0.24),
    softness=0.3,
)
_NO_DAMAGE = Camera(width=1e3, blur=0.0, noise=0.0, gain=(1.0, 1.0, 1.0), gamma=1.0, saturation=1.0, jpeg=100)
_TAKE = Take(
    pose=Pose(),
    drift=0.0,
    phase=0.0,
    expression={},
    openness=1.0,
    light=STUDIO_LIGHT,
    camera=_NO_DAMAGE,
    background_seed=0,
)


class ManRenderer:
    """Renders him as `training.avatar.renderer.Renderer` renders the first presenter."""

    def __init__(self) -> None:
        self._person = PersonRenderer(Studio(), man(), _TAKE, paint_backdrop(), 1.0)

    def render(self, face_units: Mapping[str, float], pose: Pose) -> Picture:
        """One frame as RGB uint8 [640, 640, 3]."""
        return self._person.render(dict(face_units), pose)

    def render_crop(
        self, face_units: dict[str, float], shown: FaceState, matrix: NDArray[np.float64], size: int, plate: Picture
    ) -> Picture:
        """The aligned face of a frame in the state `shown` with this mouth, RGB uint8 [size, size, 3].

        All of it is rendered, so that it differs from `plate` by what the codec lost.
        """
        state = talking_state(shown, face_units)
        return self._person.render(state.units, state.pose, projection.crop_view(matrix, size), size)
