"""Where a speech's sound comes from, which decides how it is heard and what may be left out."""

from __future__ import annotations

from enum import StrEnum


class SpeechSource(StrEnum):
    """The kinds of sources."""

    UPLOAD = "upload"
    """A file that has arrived; it is decoded faster than it is said."""
    STREAM = "stream"
    """It arrives at any pace, and every frame of it is said."""
    TEXT = "text"
    """A synthesiser makes it sentence by sentence; it may pause between two of them."""
    MICROPHONE = "microphone"
    """Somebody speaks now: a speech that fell behind leaves out parts of pauses."""
