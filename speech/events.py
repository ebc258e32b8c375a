"""What the generation of a speech tells of its progress; whoever keeps account of speeches listens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class LengthKnown:
    """The speech will have so many frames."""

    frames: int


@dataclass(frozen=True)
class FeaturesReady:
    """Whisper has answered for the first time."""


@dataclass(frozen=True)
class FacesMade:
    """So many frames of the speech have their faces, counted from its first."""

    frames: int


SpeechEvent = LengthKnown | FeaturesReady | FacesMade
Listener = Callable[[str, SpeechEvent], Awaitable[None]]
"""Is told the id of a speech and what has happened to it."""
