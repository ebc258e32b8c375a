"""What a run of `bench speech-latency` does, and what it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Way(StrEnum):
    """How a speech comes."""

    UPLOAD = "upload"
    SOCKET = "socket"
    MICROPHONE = "microphone"


@dataclass(frozen=True)
class LatencyPlan:
    """So many speeches of each way, then microphones for so many minutes: one channel alone, and all of them."""

    repeats: int = 10
    minutes: float = 1.0
    channels: int = 2
    speech_s: float = 5.0


@dataclass(frozen=True)
class Goals:
    """Milliseconds to the first sound at the encoder, and of a spoken sample to its frame there; medians."""

    upload_ms: float
    socket_ms: float
    microphone_ms: float
    drift_ms: float = 1.0


GOALS_CPU = Goals(upload_ms=450, socket_ms=400, microphone_ms=900)
GOALS_GPU = Goals(upload_ms=200, socket_ms=150, microphone_ms=740)
