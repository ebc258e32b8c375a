"""A picture with its sound: what the frame clock makes of each tick, and what the encoder gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pair:
    """Frame `tick` of the stream: uint8 [H, W, 3] and s16le [1920]; `pooled` pictures go back to the pool.

    `speech` is the id of the speech that the frame belongs to, None for idle, and `frame` the number of the frame of it
    that sounds, None for silence. `position` is where the avatar is, `due_s` the monotonic time when the frame was due.
    """

    tick: int
    picture: NDArray[np.uint8]
    sound: bytes
    pooled: bool
    speech: str | None = None
    frame: int | None = None
    position: int = 0
    due_s: float = 0.0


@dataclass(frozen=True)
class Dropped:
    """The place of a pair that was dropped."""

    tick: int
    speech: str | None
    frame: int | None


IdleInstead = Callable[[int, int, Pair | None], Pair]
"""Makes an idle pair for a tick and a position; where it is given a pair of speech, one in which that fades."""


@dataclass(frozen=True)
class TakenBack:
    """What became of speeches of which pairs still waited.

    `heard` says how many frames of each go to the encoder after all, counted from the first. `idle` is true where idle
    stands in the place of some.
    """

    heard: dict[str, int]
    idle: bool
