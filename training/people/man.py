"""The demo's second presenter: a man, and nobody's likeness either."""

from __future__ import annotations

from dataclasses import replace

from training.people.identity import Identity, draw_identity

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
