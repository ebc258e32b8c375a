"""An encoded packet: what the encoder gives, and what every output reads."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from streaming.config import FPS

START_FRAMES = FPS
"""Frames by which the stream's times are ahead: the priming of the sound's encoders lies before the first frame, and no
time becomes negative."""


class Track(Enum):
    """What a packet carries, and how.

    H.264 is Annex B, with SPS and PPS before each keyframe; AAC is raw, stereo, with its AudioSpecificConfig in the
    description; Opus is one packet for each 20 ms, mono at 48 kHz, which a decoder of stereo plays as it is.
    """

    H264 = "h264"
    AAC = "aac"
    OPUS = "opus"


@dataclass(frozen=True)
class Packet:
    """One packet, whose decoding and presentation times are the same: there are no B-frames.

    `pts` counts in `time_base` seconds from the start of the stream, over all runs of the encoder. `captured_s` is
    CLOCK_MONOTONIC, the same in all processes of a machine, when the first of its picture or sound was due on the
    frame clock: sender reports need it. `given_s` is when the channel gave it to its readers, 0 within the channel.
    """

    track: Track
    pts: int
    time_base: Fraction
    keyframe: bool
    data: bytes
    captured_s: float
    given_s: float = 0.0

    @property
    def time_s(self) -> float:
        """Presentation time in seconds."""
        return float(self.pts * self.time_base)


@dataclass(frozen=True)
class TrackDescription:
    """What a decoder of one track is set up with.

    `extradata` is SPS and PPS as Annex B for H.264, the AudioSpecificConfig for AAC, and OpusHead for Opus. What
    a track doesn't have is zero.
    """

    track: Track
    extradata: bytes
    width: int = 0
    height: int = 0
    sample_rate_hz: int = 0
    channels: int = 0
    frames_per_second: float = 0.0


@dataclass(frozen=True)
class Description:
    """The tracks of a run of the encoder; `run` counts from one, and each run begins with a keyframe."""

    run: int
    tracks: tuple[TrackDescription, ...]

    def track(self, track: Track) -> TrackDescription:
        """One of the tracks; raises KeyError for one that the stream doesn't have."""
        for each in self.tracks:
            if each.track is track:
                return each
        raise KeyError(f"the stream has no {track.value} track")


def stream_time_s(tick: int, timeline_frames: int) -> float:
    """The time of a frame in the encoded stream, which begins anew every `timeline_frames` frames."""
    return (START_FRAMES + tick % timeline_frames) / FPS
