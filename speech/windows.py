"""How much of a speech Whisper hears at once, and how much beyond a frame it must have heard."""

from __future__ import annotations

from dataclasses import dataclass

from latentsync.contract import CONTRACT
from speech.audio.frames import FPS

_LONGEST_FRAMES = CONTRACT.window_s * FPS


@dataclass(frozen=True)
class WindowPolicy:
    """A window holds up to `length_frames` of the speech and is padded to `padded_s` seconds.

    A frame's features are made once `look_ahead_frames` beyond those that it hears are there; None waits for a whole
    window, or the speech's end. A window begins anew at a pause after `renew_after_frames`, and where it is full, at
    least `overlap_frames` before the frame that needs it. Raises ValueError for numbers that don't fit one another.
    """

    length_frames: int
    padded_s: int
    look_ahead_frames: int | None
    renew_after_frames: int
    overlap_frames: int

    def __post_init__(self) -> None:
        if not self.length_frames <= self.padded_s * FPS <= _LONGEST_FRAMES:
            raise ValueError(f"a window has at most {_LONGEST_FRAMES} frames and its padding holds it: {self}")
        if not 0 <= self.overlap_frames < self.renew_after_frames <= self.length_frames:
            raise ValueError(f"overlap_frames < renew_after_frames <= length_frames must hold: {self}")
        least = self.overlap_frames + CONTRACT.chunk_frames + (self.look_ahead_frames or 0)
        if self.length_frames <= least:
            raise ValueError(f"a window must be longer than overlap, chunk and look-ahead, {least} frames: {self}")


WHOLE_WINDOWS = WindowPolicy(
    length_frames=_LONGEST_FRAMES,
    padded_s=CONTRACT.window_s,
    look_ahead_frames=None,
    renew_after_frames=20 * FPS,
    overlap_frames=8 * FPS,
)
"""For uploads: as the original hears a recording. Up to 30 s are one window."""


def growing_window(look_ahead_frames: int) -> WindowPolicy:
    """For live speech on a GPU, where 30 s cost 10 ms: the best picture for a given look-ahead."""
    return WindowPolicy(_LONGEST_FRAMES, CONTRACT.window_s, look_ahead_frames, 20 * FPS, 8 * FPS)


def short_window(look_ahead_frames: int) -> WindowPolicy:
    """For live speech on two cores: 8 s padded to 15 s take 80 ms, a window of 30 s some 200."""
    return WindowPolicy(8 * FPS, 15, look_ahead_frames, 8 * FPS, 3 * FPS)
