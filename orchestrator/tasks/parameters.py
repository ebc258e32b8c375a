"""Parameters of a task's speech: defaults and upper limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from latentsync.checkpoint import Checkpoint


class Quality(NamedTuple):
    """Denoising steps and guidance scale."""

    steps: int
    guidance: float

    @classmethod
    def of(cls, checkpoint: Checkpoint, steps: int | None = None, guidance: float | None = None) -> Quality:
        """What is given, and the checkpoint's own for the rest."""
        own = checkpoint.scheduler
        return cls(steps or own.default_steps, guidance or own.default_guidance)


@dataclass(frozen=True)
class SpeechDefaults:
    """Values for fields that a form leaves out, and the largest values that it may request.

    `quality_of` a channel, by its id, is that of the checkpoint which draws its avatar, unless the settings say it.
    """

    quality_of: Callable[[str], Quality]
    max_steps: int
    max_guidance: float
    channel: str


@dataclass(frozen=True)
class SpeechParameters:
    """How a speech is generated, and the channel that says it."""

    steps: int
    guidance: float
    seed: int
    channel: str
