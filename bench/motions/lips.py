"""Whether lips speak across a switch as they do without one: their opening, beside the same speech on one clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Openings = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""Faces uint8 [n, R, R, 3] → how far their lips are open, float64 [n]; `LipLandmarks.openings` is one."""

LATE = 3
REACH = 12
"""Frames before and behind a crossfade that are compared too: half a second."""
LEAST_R = 0.9


class NoSwitchWithinSpeech(ValueError):
    """There are no lips to compare."""


@dataclass(frozen=True)
class Across:
    """The frames around one switch, of one speech: faces [n, R, R, 3] for the same frames of its sound.

    `shown` are the channel's. `same_pose` are those of the same speech on the clip that is shown at each frame, at the
    same frame of that clip, said without a switch; `idle` those on idle as it would have gone on without the motion.
    `late` are the channel's `LATE` frames before.
    """

    shown: NDArray[np.uint8]
    same_pose: NDArray[np.uint8]
    idle: NDArray[np.uint8]
    late: NDArray[np.uint8]


@dataclass(frozen=True)
class Agreement:
    """Pearson's r of the lips' opening in the windows around the switches: over all of them, and their extremes."""

    mean: float
    median: float
    least: float


@dataclass(frozen=True)
class LipsAcross:
    """Lips in windows of half a second before each crossfade to half a second behind it.

    `same_pose` compares them with the same speech without a switch in the same pose: on the clip that each frame shows.
    `idle_alone` compares them with the same speech on idle alone, and so in another pose on one side of the switch;
    `poses_alone` is what is left for it: both of these speeches without a switch beside each other. `late` is
    `same_pose` of the same faces three frames late: what lips that are out of time come to.
    """

    checkpoint: str
    speeches: int
    switches: int
    same_pose: Agreement
    idle_alone: Agreement
    poses_alone: Agreement
    late: Agreement

    @property
    def broken(self) -> list[str]:
        """What was promised and not kept."""
        if self.same_pose.least >= LEAST_R:
            return []
        return [f"lips across a switch agree with r {self.same_pose.least:.2f} with those without one, not {LEAST_R}"]


def lips_across(checkpoint: str, speeches: int, windows: Sequence[Across], openings: Openings) -> LipsAcross:
    """Measure all windows; raises NoSwitchWithinSpeech where there is none."""
    if not windows:
        raise NoSwitchWithinSpeech("no switch lies within a speech, so that no lips can be compared: say more speeches")
    shown, same_pose, idle, late = (
        [openings(getattr(window, series)) for window in windows] for series in ("shown", "same_pose", "idle", "late")
    )
    return LipsAcross(
        checkpoint=checkpoint,
        speeches=speeches,
        switches=len(windows),
        same_pose=_agreement(shown, same_pose),
        idle_alone=_agreement(shown, idle),
        poses_alone=_agreement(same_pose, idle),
        late=_agreement(late, same_pose),
    )


def _agreement(ones: list[NDArray[np.float64]], others: list[NDArray[np.float64]]) -> Agreement:
    each = [_correlation(one, other) for one, other in zip(ones, others, strict=True)]
    return Agreement(*(round(float(value), 3) for value in (np.mean(each), np.median(each), np.min(each))))


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Pearson's r; 0 where one of them is constant."""
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norm if norm > 1e-9 else 0.0
