"""Audio in units of video frames: 25 frames a second, 640 samples each at 16 kHz."""

from __future__ import annotations

from dataclasses import dataclass

from latentsync.contract import CONTRACT

FPS = CONTRACT.frames_per_second
SAMPLES_PER_FRAME = CONTRACT.samples_per_frame


@dataclass(frozen=True)
class SilentFrames:
    """Frames of silence that are shown before and behind a speech, while its face fades in and out."""

    before: int
    behind: int
