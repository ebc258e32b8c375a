"""Opacity of the face and gain of the sound over the frames of a fade."""

from __future__ import annotations

import math


def face_opacity(frame: int, frame_count: int, fade_frames: int) -> float:
    """Opacity of speech frame `frame`: below one in exactly the first and the last `fade_frames` frames."""
    inside = min(frame + 1, frame_count - frame)
    return min(1.0, inside / (fade_frames + 1))


def equal_power_gain(frame: int, frame_count: int, fade_frames: int) -> tuple[float, float]:
    """Gain at the beginning and at the end of speech frame `frame`: sin of a quarter period over the fade."""
    return (_gain_at(frame, frame_count, fade_frames), _gain_at(frame + 1, frame_count, fade_frames))


def _gain_at(boundary: int, frame_count: int, fade_frames: int) -> float:
    if fade_frames == 0:
        return 1.0
    inside = min(boundary, frame_count - boundary, fade_frames)
    return math.sin(math.pi / 2 * inside / fade_frames)
