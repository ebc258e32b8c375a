"""Who a rendered person is: shape, skin, hair, clothes and glasses, all drawn from one seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
FloatArray = NDArray[np.float64]

ANCESTRIES = ("caucasian", "asian", "african")
# Usual melanin for each ancestry, 0 (lightest) to 1 (darkest).
_MELANIN = np.array([0.22, 0.36, 0.78])
# Linear skin tones from the lightest to the darkest; between them they are mixed geometrically.
_SKIN = np.array(
    [
        (0.640, 0.420, 0.330),
        (0.560, 0.330, 0.235),
        (0.430, 0.235, 0.150),
        (0.300, 0.152, 0.090),
        (0.175, 0.083, 0.050),
        (0.080, 0.038, 0.025),
    ]
)
_HAIR: tuple[Colour, ...] = (
    (0.010, 0.007, 0.006),
    (0.022, 0.013, 0.009),
    (0.060, 0.031, 0.017),
    (0.115, 0.060, 0.028),
    (0.260, 0.150, 0.065),
    (0.160, 0.045, 0.016),
    (0.230, 0.222, 0.215),
)
_IRIS: tuple[Colour, ...] = (
    (0.060, 0.035, 0.020),
    (0.135, 0.088, 0.046),
    (0.110, 0.125, 0.060),
    (0.100, 0.160, 0.210),
    (0.140, 0.150, 0.160),
)
HEAD_FORMS = ("oval", "round", "square", "rectangular", "triangular", "diamond", "invertedtriangular")
# Pairs of MakeHuman's targets, each as (less, more), with the spread of their strength.
_DETAILS: tuple[tuple[str, str, float], ...] = (
    ("nose/nose-scale-horiz-decr", "nose/nose-scale-horiz-incr", 0.35),
    ("nose/nose-scale-vert-decr", "nose/nose-scale-vert-incr", 0.30),
    ("nose/nose-scale-depth-decr", "nose/nose-scale-depth-incr", 0.35),
    ("nose/nose-hump-decr", "nose/nose-hump-incr", 0.35),
    ("nose/nose-point-down", "nose/nose-point-up", 0.35),
    ("nose/nose-point-width-decr", "nose/nose-point-width-incr", 0.35),
    ("nose/nose-flaring-decr", "nose/nose-flaring-incr", 0.30),
    ("chin/chin-height-decr", "chin/chin-height-incr", 0.30),
    ("chin/chin-width-decr", "chin/chin-width-incr", 0.40),
    ("chin/chin-prominent-decr", "chin/chin-prominent-incr", 0.35),
    ("chin/chin-jaw-drop-decr", "chin/chin-jaw-drop-incr", 0.30),
    ("chin/chin-bones-decr", "chin/chin-bones-incr", 0.35),
    ("mouth/mouth-scale-horiz-decr", "mouth/mouth-scale-horiz-incr", 0.35),
    ("mouth/mouth-upperlip-volume-decr", "mouth/mouth-upperlip-volume-incr", 0.40),
    ("mouth/mouth-lowerlip-volume-decr", "mouth/mouth-lowerlip-volume-incr", 0.40),
    ("mouth/mouth-cupidsbow-decr", "mouth/mouth-cupidsbow-incr", 0.35),
    ("mouth/mouth-angles-down", "mouth/mouth-angles-up", 0.20),
    ("mouth/mouth-trans-down", "mouth/mouth-trans-up", 0.15),
    ("cheek/l-cheek-bones-decr", "cheek/l-cheek-bones-incr", 0.35),
    ("cheek/l-cheek-volume-decr", "cheek/l-cheek-volume-incr", 0.35),
    ("eyes/l-eye-scale-decr", "eyes/l-eye-scale-incr", 0.30),
    ("eyes/l-eye-height2-decr", "eyes/l-eye-height2-incr", 0.30),
    ("eyes/l-eye-corner2-down", "eyes/l-eye-corner2-up", 0.30),
    ("eyes/l-eye-trans-in", "eyes/l-eye-trans-out", 0.20),
    ("ears/l-ear-scale-decr", "ears/l-ear-scale-incr", 0.30),
    ("eyebrows/eyebrows-trans-down", "eyebrows/eyebrows-trans-up", 0.30),
    ("forehead/forehead-scale-vert-decr", "forehead/forehead-scale-vert-incr", 0.25),
    ("forehead/forehead-temple-decr", "forehead/forehead-temple-incr", 0.30),
    ("neck/neck-scale-horiz-decr", "neck/neck-scale-horiz-incr", 0.25),
    ("head/head-scale-horiz-decr", "head/head-scale-horiz-incr", 0.20),
    ("head/head-scale-vert-decr", "head/head-scale-vert-incr", 0.20),
)


@dataclass(frozen=True)
class SkinLook:
    """Linear base tone; shares from 0 to 1 of what is painted upon it; linear colours of lips and brows."""

    tone: Colour
    redness: float
    freckles: float
    wrinkles: float
    stubble: float
    beard: float
    moustache: float
    shadow: float
    lips: Colour
    brows: float
    hair: Colour


@dataclass(frozen=True)
class GlassesLook:
    """Half width and half height of a lens in decimetres, 0 (rectangle) to 1 (ellipse), half of the rim, its colour."""

    width: float
    height: float
    round: float
    rim: float
    colour: Colour


@dataclass(frozen=True)
class Identity:
    """A person. `shape` are MakeHuman's targets, `shells` how many layers of clothes are worn.

    `cheek_hair` is how thick the long hair is that falls before the ears over the cheeks, from 0 (none) to 1.
    """

    seed: int
    shape: dict[str, float]
    skin: SkinLook
    hair: Colour
    bald: bool
    long_hair: bool
    cheek_hair: float
    iris: Colour
    teeth: Colour
    top: Colour
    blazer: Colour
    shells: int
    glasses: GlassesLook | None


def draw_identity(seed: int) -> Identity:
    """The person of a seed: the same with every version of NumPy's `default_rng` streams, and on every machine."""
    rng = np.random.default_rng((25, seed))
    male = float(rng.random() < 0.5)
    ancestry = rng.dirichlet((0.45, 0.45, 0.45))
    age = float(rng.beta(1.1, 2.0))
    melanin = float(np.clip(ancestry @ _MELANIN + rng.normal(0, 0.10), 0, 1))
    grey = rng.random() < max(0.0, 1.8 * age - 0.7)
    hair = _hair(rng, ancestry, grey)
    skin = _skin(rng, male > 0.5, age, melanin, hair)
    bald = bool(male > 0.5 and rng.random() < 0.15 + 0.35 * age)
    glasses = _glasses(rng) if rng.random() < 0.28 else None
    person = Identity(
        seed=seed,
        shape=_shape(rng, male, ancestry, age),
        skin=skin,
        hair=hair,
        bald=bald,
        long_hair=bool(not bald and rng.random() < (0.75 if male < 0.5 else 0.08)),
        cheek_hair=0.0,
        iris=_IRIS[int(rng.choice(5, p=_iris_shares(ancestry)))],
        teeth=_jittered(rng, (0.70, 0.655, 0.56), 0.12),
        top=_cloth(rng),
        blazer=_cloth(rng),
        shells=int(rng.choice([1, 1, 2, 3])),
        glasses=glasses,
    )
    # Of a stream of its own, as all that came later: the rest of a person stays as it was.
    locks = np.random.default_rng((31, seed))
    if person.long_hair and locks.random() < 0.4:
        person = replace(person, cheek_hair=float(locks.uniform(0.3, 1.0)))
    return person


def _jittered(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    """Another brightness by `spread` (of its logarithm), and another hue by a quarter of it."""
    factors = np.exp(rng.normal(0, spread) + rng.normal(0, spread / 4, 3))
    r, g, b = (float(np.clip(c * factor, 0.003, 0.95)) for c, factor in zip(colour, factors, strict=True))
    return r, g, b


def _shape(rng: np.random.Generator, male: float, ancestry: FloatArray, age: float) -> dict[str, float]:
    sex = float(np.clip(male + (0.5 - male) * rng.beta(1, 6), 0, 1))
    weight = float(np.clip(rng.normal(0.05 + 0.25 * age, 0.45), -1, 1))
    shape: dict[str, float] = {}
    for sex_name, sex_share in (("female", 1 - sex), ("male", sex)):
        for age_name, age_share in (("young", 1 - age), ("old", age)):
            share = sex_share * age_share
            for name, part in zip(ANCESTRIES, ancestry, strict=True):
                shape[f"macrodetails/{name}-{sex_name}-{age_name}"] = share * float(part)
            universal = f"macrodetails/universal-{sex_name}-{age_name}-averagemuscle"
            shape[f"{universal}-averageweight"] = share * (1 - abs(weight))
            shape[f"{universal}-{'max' if weight > 0 else 'min'}weight"] = share * abs(weight)
    shape[f"head/head-{HEAD_FORMS[int(rng.integers(len(HEAD_FORMS)))]}"] = float(rng.uniform(0, 0.6))
    for less, more, spread in _DETAILS:
        strength = float(np.clip(rng.normal(0, spread), -0.8, 0.8))
        name = more if strength > 0 else less
        shape[name] = abs(strength)
        if "/l-" in name:  # both sides alike, and never quite
            shape[name.replace("/l-", "/r-")] = float(np.clip(abs(strength) + rng.normal(0, 0.05), 0, 1))
    # Faces of Europe and Africa keep the eyes' size of the base mesh, which is a little small.
    for side in "lr":
        incr = f"eyes/{side}-eye-scale-incr"
        shape[incr] = shape.get(incr, 0.0) + 0.25
    return shape


def _hair(rng: np.random.Generator, ancestry: FloatArray, grey: bool) -> Colour:
    light = float(ancestry[0])
    shares = np.array([1.2 - light, 1.0, 0.3 + light, 0.7 * light, 0.5 * light, 0.2 * light, 0.0])
    if grey:
        return _jittered(rng, _HAIR[-1], 0.35)
    return _jittered(rng, _HAIR[int(rng.choice(len(_HAIR), p=shares / shares.sum()))], 0.15)


def _iris_shares(ancestry: FloatArray) -> FloatArray:
    light = float(ancestry[0])
    shares = np.array([1.3 - light, 0.6, 0.4 * light, 0.5 * light, 0.3 * light])
    return np.asarray(shares / shares.sum())


def _skin(rng: np.random.Generator, male: bool, age: float, melanin: float, hair: Colour) -> SkinLook:
    at = melanin * (len(_SKIN) - 1)
    tone = np.exp([np.interp(at, np.arange(len(_SKIN)), np.log(_SKIN[:, c])) for c in range(3)])
    natural = tone * np.array([0.86, 0.50, 0.52])
    lipstick = not male and rng.random() < 0.5
    painted = np.array([rng.uniform(0.18, 0.60), rng.uniform(0.01, 0.16), rng.uniform(0.02, 0.20)])
    mix = float(rng.uniform(0.35, 0.95)) if lipstick else 0.0
    lips = natural * (1 - mix) + painted * mix
    beard = male and rng.random() < 0.35
    return SkinLook(
        tone=_jittered(rng, (float(tone[0]), float(tone[1]), float(tone[2])), 0.05),
        redness=float(rng.uniform(0.3, 1.3) * (1 - 0.6 * melanin)),
        freckles=float(rng.random() < 0.25) * float(rng.uniform(0.2, 1.0)),
        wrinkles=float(np.clip(age * rng.uniform(0.6, 1.4), 0, 1)),
        stubble=float(rng.uniform(0.1, 0.8)) if male else 0.0,
        beard=float(rng.uniform(0.25, 1.0)) if beard else 0.0,
        moustache=float(rng.uniform(0.4, 1.0)) if beard or (male and rng.random() < 0.1) else 0.0,
        shadow=float(rng.uniform(0.2, 0.9)) if not male and rng.random() < 0.4 else 0.0,
        lips=_jittered(rng, (float(lips[0]), float(lips[1]), float(lips[2])), 0.06),
        brows=float(rng.uniform(0.45, 1.0)),
        hair=hair,
    )


def _glasses(rng: np.random.Generator) -> GlassesLook:
    metal = rng.random() < 0.5
    colour = _jittered(rng, (0.30, 0.27, 0.22), 0.5) if metal else _jittered(rng, (0.02, 0.017, 0.016), 0.8)
    return GlassesLook(
        width=float(rng.uniform(0.22, 0.29)),
        height=float(rng.uniform(0.15, 0.25)),
        round=float(rng.random()),
        rim=float(rng.uniform(0.009, 0.014) if metal else rng.uniform(0.015, 0.032)),
        colour=colour,
    )


def _cloth(rng: np.random.Generator) -> Colour:
    level = float(np.exp(rng.uniform(np.log(0.012), np.log(0.75))))
    tint = rng.dirichlet((4, 4, 4)) * 3
    return float(level * tint[0]), float(level * tint[1]), float(level * tint[2])
