"""A channel's status in which all is well, but for what a test changes."""

from dataclasses import replace
from typing import Any

from streaming.events import MixerState, PublisherState, Status

_WELL = Status(
    state=MixerState.IDLE, position=0, frames_sent=0, late_waits=0, late_frames=0, repeated_frames=0,
    dropped_pairs=0, dropped_speech_pairs=0, stalls=0, queue_s=0.0, buffered_frames=0, publisher=PublisherState.ON_AIR,
    targets=(), reconnects=0, encoder_restarts=0, encoder_speed=1.0, encoder_step="as configured",
    encoder_steps_down=0, av_offset_s=0.0, preview_readers=0, preview_codecs="",
    next_frame_at=0.0,
)  # fmt: skip


def status(**changes: Any) -> Status:
    """It, with these fields changed."""
    return replace(_WELL, **changes)
