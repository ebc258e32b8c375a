"""Packets of the channel as RTP wants them: cut into payloads once, for all viewers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from aiortc.codecs.h264 import H264Encoder

VIDEO_RATE_HZ = 90_000
AUDIO_RATE_HZ = 48_000

_START_CODE = b"\0\0\0\1"
_NAL_TYPE = 0x1F
_AUD, _FILLER = 9, 12


class Kind(StrEnum):
    """What aiortc calls the kind of a track."""

    VIDEO = "video"
    AUDIO = "audio"


@dataclass(frozen=True)
class Unit:
    """One picture, or 20 ms of sound, as the payloads of its RTP packets.

    `timestamp` counts in the rate of its kind and is not reduced to 32 bits; `time_s` is the same in seconds.
    """

    kind: Kind
    payloads: tuple[bytes, ...]
    timestamp: int
    time_s: float
    keyframe: bool


def video_unit(annex_b: bytes, time_s: Fraction, keyframe: bool) -> Unit:
    """A picture of H.264 in Annex B, its parameter sets before each keyframe (RFC 6184, packetization mode 1)."""
    payloads = H264Encoder._packetize(_sent_nals(annex_b))
    return _unit(Kind.VIDEO, tuple(payloads), time_s, keyframe)


def audio_unit(opus: bytes, time_s: Fraction) -> Unit:
    """A packet of Opus (RFC 7587)."""
    return _unit(Kind.AUDIO, (opus,), time_s, keyframe=True)


def _unit(kind: Kind, payloads: tuple[bytes, ...], time_s: Fraction, keyframe: bool) -> Unit:
    rate_hz = VIDEO_RATE_HZ if kind is Kind.VIDEO else AUDIO_RATE_HZ
    return Unit(kind, payloads, int(time_s * rate_hz), float(time_s), keyframe)


def _sent_nals(annex_b: bytes) -> list[bytes]:
    """All NAL units but delimiters and filler: a constant bitrate pads an idle picture, and here nothing needs that."""
    return [nal for nal in H264Encoder._split_bitstream(annex_b) if nal and nal[0] & _NAL_TYPE not in (_AUD, _FILLER)]
