"""Numbers that say whether a mouth follows its speech, and whether a repainted face looks whole.

Openings are float64 [n], one a video frame; faces uint8 [n, R, R, 3]; masks float [R, R], 1 = keep, 0 = repainted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from training.speech.clip import FRAME_RATE, SILENCE, Phone

Curve = NDArray[np.float64]
Faces = NDArray[np.uint8]
CHUNK = CONTRACT.chunk_frames
SCHARR_GAIN = 32  # of a slope of one grey level a pixel
FLAT = 0.1
"""Grey levels a pixel, too few to be seen: keeps the ratio of two flat surfaces at 1."""
BILABIALS = frozenset("MBP")
CLOSED_SHARE = 0.1
"""Lips that are open by less than this share of the sentence's widest opening count as closed."""


@dataclass(frozen=True)
class Scale:
    """What the landmarks read on lips that are closed (they read no zero, and it varies with the pose), and how far
    above that the true sentence opens at the widest."""

    rest: Curve
    widest: float

    @classmethod
    def of(cls, truth: Curve, idle: Curve) -> "Scale":
        """`idle` [n] is what they read on the idle frame under each frame: the same pose with closed lips."""
        return cls(idle, float((truth - idle).max()))

    def share(self, opening: Curve) -> Curve:
        """`opening` [n] as a share of the widest: 0 closed, 1 widest."""
        return (opening - self.rest) / self.widest


def correlation(made: Curve, truth: Curve) -> float:
    """Pearson's r over the frames that both have; 0 when one of them never moves."""
    length = min(len(made), len(truth))
    made, truth = made[:length] - made[:length].mean(), truth[:length] - truth[:length].mean()
    norm = float(np.linalg.norm(made) * np.linalg.norm(truth))
    return float(made @ truth) / norm if norm > 1e-9 else 0.0


def peak_lag(made: Curve, truth: Curve, reach: int = 6) -> int:
    """Frames by which `made` comes after `truth` where they correlate best, −`reach` … `reach`.

    Raises ValueError for fewer than 4·`reach` frames.
    """
    length = min(len(made), len(truth))
    if length < 4 * reach:
        raise ValueError(f"{length} frames are too few to look for a lag of {reach}")
    middle = truth[reach : length - reach]
    lags = range(-reach, reach + 1)
    return max(lags, key=lambda lag: correlation(made[reach + lag : length - reach + lag], middle))


def amplitude_ratio(made: Curve, truth: Curve) -> float:
    """Standard deviation of `made` over that of `truth`. Raises ValueError when `truth` never moves."""
    if truth.std() < 1e-9:
        raise ValueError("the truth never moves")
    return float(made.std() / truth.std())


@dataclass(frozen=True)
class Count:
    """How often of how many."""

    hits: int
    total: int

    def __add__(self, other: "Count") -> "Count":
        return Count(self.hits + other.hits, self.total + other.total)

    @property
    def rate(self) -> float:
        return self.hits / self.total if self.total else float("nan")


def closures(made: Curve, phones: Sequence[Phone], scale: Scale) -> Count:
    """On how many of the m, b and p the lips close: below `CLOSED_SHARE` in a frame on or beside the phone."""
    hits = total = 0
    share = scale.share(made)
    for phone in phones:
        if phone.name in BILABIALS:
            first = max(0, round(phone.start_s * FRAME_RATE - 0.5))
            last = min(len(made) - 1, round(phone.end_s * FRAME_RATE - 0.5))
            if first <= last:
                total += 1
                hits += bool(share[first : last + 1].min() < CLOSED_SHARE)
    return Count(hits, total)


def silent_frames(
    phones: Sequence[Phone], n_frames: int, before_s: float = 0.16, after_s: float = 0.2
) -> NDArray[np.bool_]:
    """Frames in which the mouth should rest: no phone within `before_s` ahead or `after_s` behind. bool [n_frames]."""
    middle = (np.arange(n_frames) + 0.5) / FRAME_RATE
    silent = np.ones(n_frames, bool)
    for phone in phones:
        if phone.name != SILENCE:
            silent &= (middle < phone.start_s - before_s) | (middle > phone.end_s + after_s)
    return silent


def silence_opening(made: Curve, silent: NDArray[np.bool_], scale: Scale) -> float:
    """What 95 % of the silent frames stay below, as a share of the widest opening; nan without such frames."""
    resting = scale.share(made)[silent]
    return float(np.percentile(resting, 95)) if len(resting) else float("nan")


def psnr(made: Faces, truth: Faces, mask: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio in dB over the repainted pixels of all frames; infinite when they are equal."""
    weight = 1 - mask[None, :, :, None]
    error = ((made.astype(np.float32) - truth.astype(np.float32)) ** 2 * weight).sum()
    mean = float(error) / (float(weight.sum()) * 3 * len(made))
    return float(10 * np.log10(255**2 / mean)) if mean > 0 else float("inf")


def edge_band(mask: NDArray[np.float32], width: int = 2) -> NDArray[np.bool_]:
    """Pixels within `width` of the mask's edge: bool [R, R]."""
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    repaint = (mask < 0.5).astype(np.uint8)
    return np.asarray(cv2.dilate(repaint, kernel) != cv2.erode(repaint, kernel))


def chin_band(mask: NDArray[np.float32], width: int = 2) -> NDArray[np.bool_]:
    """The part of `edge_band` under the mouth, in the lowest fifth of the repainted region."""
    band = edge_band(mask, width)
    rows = np.flatnonzero((mask < 0.5).any(1))
    band[: round(rows[-1] - (rows[-1] - rows[0]) / 5)] = False
    return band


def seam(made: Faces, truth: Faces, band: NDArray[np.bool_]) -> float:
    """Steepness of the picture along `band` over that of the truth: 1 without a seam, more where an edge shows.

    Steepness is the mean length of the brightness gradient over all frames; a seam that moves with the frames counts
    as one that stands still does.
    """
    return (_steepness(made, band) + FLAT) / (_steepness(truth, band) + FLAT)


def _steepness(faces: Faces, band: NDArray[np.bool_]) -> float:
    total = 0.0
    for face in faces:
        grey = cv2.cvtColor(np.ascontiguousarray(face), cv2.COLOR_RGB2GRAY).astype(np.float32)
        total += float(np.hypot(cv2.Scharr(grey, -1, 1, 0), cv2.Scharr(grey, -1, 0, 1))[band].mean()) / SCHARR_GAIN
    return total / len(faces)


@dataclass(frozen=True)
class FrameSteps:
    """Mean absolute differences between neighbouring frames, at the borders of chunks and elsewhere."""

    border: tuple[float, ...]
    elsewhere: tuple[float, ...]

    def __add__(self, other: "FrameSteps") -> "FrameSteps":
        return FrameSteps(self.border + other.border, self.elsewhere + other.elsewhere)

    @property
    def flicker(self) -> float:
        """Median at the borders over the median elsewhere: about 1 when chunks meet; nan without borders."""
        if not self.border or not self.elsewhere:
            return float("nan")
        return float(np.median(self.border) / max(1e-9, float(np.median(self.elsewhere))))


def frame_steps(faces: Faces, mask: NDArray[np.float32], chunk: int = CHUNK) -> FrameSteps:
    """Differences between neighbouring frames over the repainted pixels, in grey levels."""
    repaint = mask < 0.5
    pixels = faces[:, repaint].astype(np.int16)
    steps = np.abs(np.diff(pixels, axis=0)).mean((1, 2))
    at_border = np.arange(1, len(faces)) % chunk == 0
    return FrameSteps(tuple(map(float, steps[at_border])), tuple(map(float, steps[~at_border])))
