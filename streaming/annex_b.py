"""H.264 as encoders and WebRTC have it, with start codes (Annex B), and as FLV and MP4 hold it, with lengths."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_SPS, _PPS = 7, 8
_TYPE = 0x1F


def nal_units(data: bytes) -> Iterator[bytes]:
    """The NAL units of a byte stream, without start codes; none where it has no start code."""
    at = data.find(b"\0\0\1")
    while at >= 0:
        begin = at + 3
        at = data.find(b"\0\0\1", begin)
        # A NAL unit ends in a byte that isn't zero: zeros before a start code belong to that.
        yield data[begin : at if at >= 0 else len(data)].rstrip(b"\0")


def length_prefixed(data: bytes) -> bytes:
    """The same NAL units, each with its length in four bytes."""
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in nal_units(data))


def avc_configuration(extradata: bytes) -> bytes:
    """AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1) of SPS and PPS; raises ValueError where one is missing.

    It has no fields for the chroma format, which baseline and main don't need.
    """
    units = {unit[0] & _TYPE: unit for unit in nal_units(extradata) if unit}
    if _SPS not in units or _PPS not in units:
        raise ValueError(f"no SPS and PPS in the encoder's parameters: {extradata[:64].hex()}")
    sps, pps = units[_SPS], units[_PPS]
    parts = (b"\1", sps[1:4], b"\xff\xe1", struct.pack(">H", len(sps)), sps, b"\1", struct.pack(">H", len(pps)), pps)
    return b"".join(parts)
