"""Phones → face units at 25 frames/s, coarticulated.

Each phone pulls the articulators to its own target with a strength that fades outside the phone (dominance functions,
after Cohen and Massaro, "Modeling coarticulation in synthetic visual speech", 1993). Contacts that a viewer expects are
then enforced: m, b and p close the lips, and f and v put the lower lip on the teeth, each for at least one frame. No
frame depends on audio more than 0.12 s ahead, because its audio window ends 0.12 s after the frame begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.speech.alignment import STEP_S, loudness
from training.speech.clip import FRAME_RATE, SILENCE, Phone

JAW_LIMIT = 0.38
"""With a wider jaw the chin leaves the region that LatentSync repaints."""
REACH_S = 0.08
VOWEL_PULL = (1.3, 1.2)
FADE_S = 0.04
SMOOTHING_STEPS = 9
BILABIALS = frozenset("MBP")
RELEASE_S = {"B": 0.02, "P": 0.035}
"""Length of the burst at the end of a stop, during which the lips already open."""
LABIODENTALS = frozenset("FV")

ARTICULATORS = ("jaw", "funnel", "pucker", "spread", "lower", "upper", "roll_lower", "roll_upper")
UNITS: dict[str, tuple[str, float]] = {
    "jawOpen": ("jaw", 1.0),
    "mouthFunnel": ("funnel", 1.0),
    "mouthPucker": ("pucker", 1.0),
    "mouthStretchLeft": ("spread", 1.0),
    "mouthStretchRight": ("spread", 1.0),
    "mouthSmileLeft": ("spread", 0.5),
    "mouthSmileRight": ("spread", 0.5),
    "mouthLowerDownLeft": ("lower", 1.0),
    "mouthLowerDownRight": ("lower", 1.0),
    "mouthUpperUpLeft": ("upper", 1.0),
    "mouthUpperUpRight": ("upper", 1.0),
    "mouthRollLower": ("roll_lower", 1.0),
    "mouthRollUpper": ("roll_upper", 1.0),
}
"""MakeHuman/ARKit face unit → the articulator that drives it, and its gain."""


@dataclass(frozen=True)
class Target:
    """The pose that a phone pulls to (jaw, funnel, pucker, spread, lower lip down, upper lip up), and the strength."""

    pose: tuple[float, float, float, float, float, float]
    jaw_pull: float
    lip_pull: float


_VOWELS = {
    "AA": (0.40, 0.05, 0.00, 0.05, 0.42, 0.29),
    "AE": (0.36, 0.00, 0.00, 0.30, 0.53, 0.35),
    "AH": (0.28, 0.00, 0.00, 0.08, 0.35, 0.23),
    "AO": (0.33, 0.55, 0.15, 0.00, 0.23, 0.19),
    "EH": (0.30, 0.00, 0.00, 0.25, 0.47, 0.29),
    "ER": (0.18, 0.35, 0.20, 0.00, 0.27, 0.19),
    "IH": (0.20, 0.00, 0.00, 0.28, 0.47, 0.29),
    "IY": (0.14, 0.00, 0.00, 0.50, 0.53, 0.32),
    "UH": (0.18, 0.40, 0.35, 0.00, 0.23, 0.16),
    "UW": (0.09, 0.30, 0.75, 0.00, 0.12, 0.10),
}
_DIPHTHONGS = {"AW": ("AA", "UW"), "AY": ("AA", "IH"), "EY": ("EH", "IY"), "OW": ("AO", "UW"), "OY": ("AO", "IY")}
_CLOSED = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_CONSONANTS = {
    "M": Target(_CLOSED, 0.5, 0.4),
    "B": Target(_CLOSED, 0.5, 0.4),
    "P": Target(_CLOSED, 0.5, 0.4),
    "F": Target((0.05, 0.00, 0.00, 0.05, 0.00, 0.25), 0.9, 0.8),
    "V": Target((0.05, 0.00, 0.00, 0.05, 0.00, 0.25), 0.9, 0.8),
    "T": Target((0.08, 0.00, 0.00, 0.10, 0.15, 0.12), 0.5, 0.35),
    "D": Target((0.08, 0.00, 0.00, 0.10, 0.15, 0.12), 0.5, 0.35),
    "N": Target((0.09, 0.00, 0.00, 0.08, 0.15, 0.12), 0.5, 0.35),
    "S": Target((0.05, 0.00, 0.00, 0.25, 0.22, 0.16), 1.1, 0.55),
    "Z": Target((0.05, 0.00, 0.00, 0.25, 0.22, 0.16), 1.1, 0.55),
    "TH": Target((0.10, 0.00, 0.00, 0.08, 0.22, 0.16), 0.8, 0.5),
    "DH": Target((0.10, 0.00, 0.00, 0.08, 0.20, 0.14), 0.6, 0.4),
    "SH": Target((0.07, 0.55, 0.20, 0.00, 0.15, 0.15), 1.1, 1.1),
    "ZH": Target((0.07, 0.55, 0.20, 0.00, 0.15, 0.15), 1.1, 1.1),
    "CH": Target((0.06, 0.50, 0.20, 0.00, 0.15, 0.15), 1.1, 1.1),
    "JH": Target((0.06, 0.50, 0.20, 0.00, 0.15, 0.15), 1.1, 1.1),
    "K": Target((0.13, 0.00, 0.00, 0.08, 0.15, 0.12), 0.4, 0.25),
    "G": Target((0.13, 0.00, 0.00, 0.08, 0.15, 0.12), 0.4, 0.25),
    "NG": Target((0.13, 0.00, 0.00, 0.08, 0.15, 0.12), 0.4, 0.25),
    "L": Target((0.15, 0.00, 0.00, 0.10, 0.18, 0.12), 0.6, 0.4),
    "R": Target((0.11, 0.35, 0.25, 0.00, 0.12, 0.10), 0.6, 0.8),
    "W": Target((0.05, 0.20, 0.80, 0.00, 0.00, 0.00), 1.0, 1.3),
    "Y": Target((0.09, 0.00, 0.00, 0.38, 0.25, 0.16), 0.7, 0.7),
    "HH": Target((0.16, 0.00, 0.00, 0.05, 0.15, 0.12), 0.2, 0.15),
}
_REST = Target(_CLOSED, 1.0, 1.0)


def targets(phone: Phone) -> list[tuple[Target, float, float]]:
    """The targets of a phone, each with its start and end in seconds."""
    if phone.name == SILENCE:
        return [(_REST, phone.start_s, phone.end_s)]
    if phone.name in _DIPHTHONGS:
        middle = phone.start_s + 0.55 * phone.duration_s
        first, second = _DIPHTHONGS[phone.name]
        return [
            (Target(_VOWELS[first], *VOWEL_PULL), phone.start_s, middle),
            (Target(_VOWELS[second], *VOWEL_PULL), middle, phone.end_s),
        ]
    target = Target(_VOWELS[phone.name], *VOWEL_PULL) if phone.name in _VOWELS else _CONSONANTS[phone.name]
    return [(target, phone.start_s, phone.end_s)]


def face_curves(
    phones: Sequence[Phone], n_frames: int, samples: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Face units at the middle of each frame: float32 [n_frames, len(UNITS)] in 0 … 1, jawOpen at most `JAW_LIMIT`.

    `phones` must cover the clip without gaps. With `samples` (16 kHz mono) loud syllables open wider than soft ones.
    """
    steps = n_frames * round(1 / (FRAME_RATE * STEP_S))
    time_s = np.arange(steps) * STEP_S
    tracks = _blend(phones, time_s)
    window = np.hanning(SMOOTHING_STEPS + 2)[1:-1]
    margin = SMOOTHING_STEPS // 2
    padded = np.pad(tracks, ((0, 0), (margin, margin)), mode="edge")
    tracks = np.stack([np.convolve(track, window / window.sum(), "valid") for track in padded])
    curve = dict(zip(ARTICULATORS, [*tracks, *np.zeros((2, steps))], strict=True))
    if samples is not None:
        gain = _loudness_gain(samples, steps)
        for name in ("jaw", "lower", "upper"):
            curve[name] = curve[name] * gain
    _put_lip_on_teeth(curve, _gate(phones, LABIODENTALS, time_s, least_s=0.045, ramp_s=0.055))
    _close_lips(curve, _gate(phones, BILABIALS, time_s, least_s=0.055, ramp_s=0.06))
    curve["jaw"] = np.minimum(curve["jaw"], JAW_LIMIT)
    middles = np.arange(n_frames) * (steps // n_frames) + steps // n_frames // 2
    units = np.stack([curve[source][middles] * gain for source, gain in UNITS.values()], axis=1)
    return np.asarray(np.clip(units, 0, 1), np.float32)


def _blend(phones: Sequence[Phone], time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean of the targets at each time: [6, steps]."""
    weighted = np.zeros((6, len(time_s)))
    weights = np.full((6, len(time_s)), 1e-9)
    for phone in phones:
        for target, start_s, end_s in targets(phone):
            outside = np.maximum(np.maximum(start_s - time_s, time_s - end_s), 0)
            near = np.where(outside < REACH_S, np.exp(-outside / FADE_S), 0)
            pull = np.array([target.jaw_pull, *[target.lip_pull] * 5])[:, None] * near
            weights += pull
            weighted += pull * np.array(target.pose)[:, None]
    return np.asarray(weighted / weights)


def _loudness_gain(samples: NDArray[np.float32], steps: int) -> NDArray[np.float64]:
    """Gain of the opening, 0.85 … 1.1: about 1 for loud vowels, and 1.2 % less for each dB below them."""
    level = np.resize(np.append(loudness(samples), np.zeros(steps)), steps)
    level = np.convolve(level, np.ones(15) / 15, "same")
    reference = np.percentile(level, 85)
    decibel = 20 * np.log10(np.maximum(level, 1e-6) / max(reference, 1e-6))
    return np.asarray(np.clip(1 + 0.012 * decibel, 0.85, 1.1))


def _gate(
    phones: Sequence[Phone], names: frozenset[str], time_s: NDArray[np.float64], least_s: float, ramp_s: float
) -> NDArray[np.float64]:
    """1 during each of these phones, for at least `least_s`, with raised-cosine ramps before and after."""
    gate = np.zeros(len(time_s))
    for phone in phones:
        if phone.name in names:
            start_s = phone.start_s + 0.01
            end_s = phone.end_s - RELEASE_S.get(phone.name, 0.01)
            spare = max(0.0, least_s - (end_s - start_s)) / 2
            start_s, end_s = start_s - spare, end_s + spare
            outside = np.maximum(np.maximum(start_s - time_s, time_s - end_s), 0)
            ramp = np.where(outside < ramp_s, (1 + np.cos(np.pi * outside / ramp_s)) / 2, 0)
            gate = np.maximum(gate, ramp)
    return gate


def _close_lips(curve: dict[str, NDArray[np.float64]], gate: NDArray[np.float64]) -> None:
    for name in ("jaw", "lower", "upper", "funnel", "spread"):
        curve[name] = curve[name] * (1 - gate)
    curve["pucker"] = curve["pucker"] * (1 - 0.7 * gate)
    # The lips roll inwards: pressing them would pull the corners back and leave dark gaps there.
    curve["roll_lower"] = curve["roll_lower"] * (1 - gate) + 0.45 * gate
    curve["roll_upper"] = 0.40 * gate


def _put_lip_on_teeth(curve: dict[str, NDArray[np.float64]], gate: NDArray[np.float64]) -> None:
    curve["jaw"] = curve["jaw"] * (1 - gate) + 0.05 * gate
    curve["lower"] = curve["lower"] * (1 - gate)
    curve["upper"] = curve["upper"] * (1 - gate) + 0.28 * gate
    curve["funnel"] = curve["funnel"] * (1 - 0.8 * gate)
    curve["roll_lower"] = 0.55 * gate
