"""How a task's speech is generated: what it may ask for, and what it gets when it doesn't."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SpeechDefaults:
    """What a task gets when its form doesn't say, and the most that it may ask for."""

    steps: int
    guidance: float
    max_steps: int
    max_guidance: float
    channel: str


@dataclass(frozen=True)
class SpeechParameters:
    """How a speech is generated, and where it is said."""

    steps: int
    guidance: float
    seed: int
    channel: str
