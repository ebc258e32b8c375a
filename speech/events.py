"""Progress events of a speech's generation, for whoever keeps records of speeches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class LengthKnown:
    """The length of the speech is known."""

    frames: int


@dataclass(frozen=True)
class FeaturesReady:
    """Whisper has answered its first request."""


@dataclass(frozen=True)
class FacesMade:
    """The faces of the first `frames` frames are generated."""

    frames: int


SpeechEvent = LengthKnown | FeaturesReady | FacesMade
Listener = Callable[[str, SpeechEvent], Awaitable[None]]
"""Called with the id of a speech and the event."""
