"""Parameters of a task's speech: defaults and upper limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SpeechDefaults:
    """Values for fields that a form leaves out, and the largest values that it may request."""

    steps: int
    guidance: float
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
