"""Whether a clip leads from its last frame to its first."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latentsync.avatar import Loop
from orchestrator.avatars.looping import detect_loop, thumbnail


def clip(phases: NDArray[Any]) -> list[NDArray[Any]]:
    """A bright spot on a circle, one picture per phase (1 = once around)."""
    y, x = np.mgrid[0:120, 0:160]
    pictures = []
    for phase in phases * 2 * np.pi:
        spot = np.exp(-((x - 80 - 30 * np.cos(phase)) ** 2 + (y - 60 - 30 * np.sin(phase)) ** 2) / 400)
        pictures.append(thumbnail(np.repeat((255 * spot).astype(np.uint8)[..., None], 3, axis=2)))
    return pictures


@pytest.mark.parametrize("frames", [25, 50, 250])
def test_motion_that_closes_is_a_cycle(frames: int) -> None:
    assert detect_loop(clip(np.arange(frames) / frames)) is Loop.CYCLE


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_motion_that_stops_elsewhere_is_played_back(part: float) -> None:
    assert detect_loop(clip(part * np.arange(50) / 50)) is Loop.PINGPONG


def test_clip_of_a_few_frames_is_played_back() -> None:
    assert detect_loop(clip(np.zeros(1))) is Loop.PINGPONG
