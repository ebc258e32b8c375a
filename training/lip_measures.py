"""Measures of lip synchronisation and of visible seams in a repainted face.

Openings are float64 [n], one per video frame; faces are uint8 [n, R, R, 3]; masks are float [R, R], where 1 is kept and
0 repainted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from latentsync.mask import face_mask
from training.speech.clip import FRAME_RATE, SILENCE, Phone

Curve = NDArray[np.float64]
Faces = NDArray[np.uint8]
CHUNK = CONTRACT.chunk_frames
SCHARR_GAIN = 32  # response of the kernel to a slope of one grey level per pixel
FLAT = 0.1
"""Grey levels per pixel, too small to be visible: keeps the ratio of two flat surfaces at 1."""
BILABIALS = frozenset("MBP")
CLOSED_SHARE = 0.1
"""Lips count as closed below this share of the widest opening of the sentence."""
LIPS, LIPS_SPREAD = (0.5, 0.62), (0.17, 0.09)
"""Centre and extent of the lips in an aligned face, as shares of its width and height."""
AT_THE_MOUTH = 1.5
"""Pixels whose `lip_weights` are above it are those of the mouth."""


def lip_weights(resolution: int) -> NDArray[np.float32]:
    """How much a pixel counts, [R, R]: 0 outside the repainted region, 1 in it, up to 5 around the lips.

    The lips are a tenth of the region, and what a viewer looks at.
    """
    down, across = np.meshgrid(*[np.linspace(0, 1, resolution, dtype=np.float32)] * 2, indexing="ij")
    lips = np.exp(-(((across - LIPS[0]) / LIPS_SPREAD[0]) ** 2 + ((down - LIPS[1]) / LIPS_SPREAD[1]) ** 2))
    return np.asarray((1 - face_mask(resolution)) * (1 + 4 * lips), np.float32)


@dataclass(frozen=True)
class Scale:
    """The opening that the landmarks report for closed lips, and the widest opening of the ground truth above it.

    For closed lips the landmarks don't report zero, and what they report varies with the pose.
    """

    rest: Curve
    widest: float

    @classmethod
    def of(cls, truth: Curve, idle: Curve) -> "Scale":
        """`idle` [n] are the openings of the idle frame below each frame: the same pose with closed lips."""
        return cls(idle, float((truth - idle).max()))

    def share(self, opening: Curve) -> Curve:
        """`opening` [n] as a share of the widest: 0 closed, 1 widest."""
        return (opening - self.rest) / self.widest


def correlation(generated: Curve, truth: Curve) -> float:
    """Pearson's r over the frames that both have; 0 when one of them is constant."""
    length = min(len(generated), len(truth))
    generated, truth = generated[:length] - generated[:length].mean(), truth[:length] - truth[:length].mean()
    norm = float(np.linalg.norm(generated) * np.linalg.norm(truth))
    return float(generated @ truth) / norm if norm > 1e-9 else 0.0


def peak_lag(generated: Curve, truth: Curve, reach: int = 6) -> int:
    """The delay of `generated` against `truth`, in frames, at which they correlate best: −`reach` … `reach`.

    Raises ValueError for fewer than 4·`reach` frames.
    """
    length = min(len(generated), len(truth))
    if length < 4 * reach:
        raise ValueError(f"{length} frames are too few to look for a lag of {reach}")
    middle = truth[reach : length - reach]
    lags = range(-reach, reach + 1)
    return max(lags, key=lambda lag: correlation(generated[reach + lag : length - reach + lag], middle))


def amplitude_ratio(generated: Curve, truth: Curve) -> float:
    """Standard deviation of `generated` over that of `truth`. Raises ValueError when `truth` is constant."""
    if truth.std() < 1e-9:
        raise ValueError("the ground truth is constant: its mouth never moves")
    return float(generated.std() / truth.std())


@dataclass(frozen=True)
class Count:
    """Hits, out of a total."""

    hits: int
    total: int

    def __add__(self, other: "Count") -> "Count":
        return Count(self.hits + other.hits, self.total + other.total)

    @property
    def rate(self) -> float:
        return self.hits / self.total if self.total else float("nan")


def closures(generated: Curve, phones: Sequence[Phone], scale: Scale) -> Count:
    """How many m, b and p have closed lips: an opening below `CLOSED_SHARE` in a frame during or next to the phone."""
    hits = total = 0
    share = scale.share(generated)
    for phone in phones:
        if phone.name in BILABIALS:
            first = max(0, round(phone.start_s * FRAME_RATE - 0.5))
            last = min(len(generated) - 1, round(phone.end_s * FRAME_RATE - 0.5))
            if first <= last:
                total += 1
                hits += bool(share[first : last + 1].min() < CLOSED_SHARE)
    return Count(hits, total)


def silent_frames(
    phones: Sequence[Phone], n_frames: int, before_s: float = 0.16, after_s: float = 0.2
) -> NDArray[np.bool_]:
    """Frames in which the mouth should rest, bool [n_frames]: no phone in the next `before_s` or the last `after_s`."""
    middle = (np.arange(n_frames) + 0.5) / FRAME_RATE
    silent = np.ones(n_frames, bool)
    for phone in phones:
        if phone.name != SILENCE:
            silent &= (middle < phone.start_s - before_s) | (middle > phone.end_s + after_s)
    return silent


def silence_opening(generated: Curve, silent: NDArray[np.bool_], scale: Scale) -> float:
    """The 95th percentile of the opening in silent frames, as a share of the widest; nan without silent frames."""
    resting = scale.share(generated)[silent]
    return float(np.percentile(resting, 95)) if len(resting) else float("nan")


def psnr(generated: Faces, truth: Faces, mask: NDArray[np.float32]) -> float:
    """PSNR in dB over the repainted pixels of all frames; infinite where they are equal, nan without frames."""
    if not len(generated):
        return float("nan")
    weight = 1 - mask[None, :, :, None]
    error = ((generated.astype(np.float32) - truth.astype(np.float32)) ** 2 * weight).sum()
    mean = float(error) / (float(weight.sum()) * 3 * len(generated))
    return float(10 * np.log10(255**2 / mean)) if mean > 0 else float("inf")


def edge_band(mask: NDArray[np.float32], width: int = 2) -> NDArray[np.bool_]:
    """Pixels within `width` of the mask's edge: bool [R, R]."""
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    repaint = (mask < 0.5).astype(np.uint8)
    return np.asarray(cv2.dilate(repaint, kernel) != cv2.erode(repaint, kernel))


def chin_band(mask: NDArray[np.float32], width: int = 2) -> NDArray[np.bool_]:
    """The part of `edge_band` below the mouth, in the lowest fifth of the repainted region."""
    band = edge_band(mask, width)
    rows = np.flatnonzero((mask < 0.5).any(1))
    band[: round(rows[-1] - (rows[-1] - rows[0]) / 5)] = False
    return band


def seam(generated: Faces, truth: Faces, band: NDArray[np.bool_]) -> float:
    """Gradient along `band` divided by that of the ground truth: 1 without a seam, more where an edge is visible.

    The gradient is the mean length of the brightness gradient over all frames, so a seam that moves from frame to frame
    counts as much as one that stands still.
    """
    return (_mean_gradient(generated, band) + FLAT) / (_mean_gradient(truth, band) + FLAT)


def _mean_gradient(faces: Faces, band: NDArray[np.bool_]) -> float:
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
        """Median at the borders over the median elsewhere: about 1 where chunks join smoothly; nan without borders."""
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
