"""Progress events of a speech's generation, for whoever keeps records of speeches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class LengthKnown:
    """The number of frames that the speech has on the stream is known."""

    frames: int


@dataclass(frozen=True)
class FeaturesReady:
    """Whisper has answered its first request."""


@dataclass(frozen=True)
class ChunkRequested:
    """The request for the first chunk goes to the models: its features are there, and its turn has come."""


@dataclass(frozen=True)
class FacesMade:
    """The faces of the first `frames` frames are generated."""

    frames: int


@dataclass(frozen=True)
class SoundPlaced:
    """From frame `shown` of the stream's speech on, what is heard is frame `heard` … of the speech's log.

    Sent for the first frame, and wherever quiet frames were left out; a negative `heard` is silence before the speech.
    """

    shown: int
    heard: int


@dataclass(frozen=True)
class HandedOver:
    """The first frame was handed to the channel."""


SpeechEvent = LengthKnown | FeaturesReady | ChunkRequested | FacesMade | SoundPlaced | HandedOver
Listener = Callable[[str, SpeechEvent], Awaitable[None]]
"""Called with the id of a speech and the event."""
