"""Speech in units of video frames, 25 a second."""

from __future__ import annotations

from dataclasses import dataclass

from latentsync.contract import CONTRACT

FPS = CONTRACT.frames_per_second


@dataclass(frozen=True)
class SilentFrames:
    """Frames of silence that are shown before and behind a speech, while its face fades in and out."""

    before: int
    behind: int
