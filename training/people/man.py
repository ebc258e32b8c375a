"""The demo's second presenter: a man in the studio and the light of the first, and nobody's likeness either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.avatar import projection
from training.avatar.backdrop import paint_backdrop
from training.avatar.motion import FaceState, Pose, talking_state
from training.people.identity import Colour, Identity, draw_identity
from training.people.renderer import PersonRenderer, Studio
from training.people.setting import Camera, Light, Take

Picture = NDArray[np.uint8]

_DRAWN = 2254
_TONE, _HAIR = (0.50, 0.285, 0.195), (0.030, 0.018, 0.012)
# Of the drawn mouth its corners and height are left out: they would look sad at rest.
_LEFT_OUT = ("mouth/mouth-angles", "mouth/mouth-trans")


def man() -> Identity:
    """His shape is that of a drawn person; skin, hair, eyes and clothes are chosen."""
    drawn = draw_identity(_DRAWN)
    shape = {name: strength for name, strength in drawn.shape.items() if not name.startswith(_LEFT_OUT)}
    skin = replace(
        drawn.skin,
        tone=_TONE,
        redness=0.8,
        wrinkles=0.25,
        stubble=0.45,
        lips=(_TONE[0] * 0.84, _TONE[1] * 0.46, _TONE[2] * 0.47),
        brows=1.0,
        hair=_HAIR,
    )
    return replace(
        drawn,
        shape={**shape, "mouth/mouth-angles-up": 0.25},
        skin=skin,
        hair=_HAIR,
        iris=(0.100, 0.120, 0.090),
        teeth=(0.72, 0.67, 0.58),
        top=(0.58, 0.62, 0.68),
        blazer=(0.030, 0.033, 0.040),
        shells=3,
        glasses=None,
    )


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
