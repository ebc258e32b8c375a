"""The sound that viewers hear, beside what Whisper hears: the contract's rate is for networks, and dull to the ear."""

from __future__ import annotations

from latentsync.contract import CONTRACT

SOUND_RATE_HZ = 48_000
SOUND_FRAME_SAMPLES = SOUND_RATE_HZ // CONTRACT.frames_per_second
"""Samples that viewers hear during one video frame."""
