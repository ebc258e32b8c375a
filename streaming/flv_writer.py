"""Makes FLV tags of packets (Adobe's Video File Format, version 10.1, annex E)."""

from __future__ import annotations

import struct

from streaming.annex_b import avc_configuration, length_prefixed
from streaming.flv_tags import Tag, TagKind
from streaming.packet import Description, Packet, Track

_AVC_KEY, _AVC_OTHER, _AAC = 0x17, 0x27, 0xAF
_CONFIGURATION, _DATA = 0, 1
_AVC_CODEC, _AAC_CODEC = 7, 10
_KINDS = {Track.H264: TagKind.PICTURE, Track.AAC: TagKind.SOUND}


def configuration_tags(description: Description) -> list[Tag]:
    """Metadata and the decoders' parameters, which come before all others."""
    video, audio = description.track(Track.H264), description.track(Track.AAC)
    values = {
        "width": video.width, "height": video.height, "framerate": video.frames_per_second, "videocodecid": _AVC_CODEC,
        "audiosamplerate": audio.sample_rate_hz, "stereo": audio.channels == 2, "audiocodecid": _AAC_CODEC,
    }  # fmt: skip
    avc = bytes([_AVC_KEY, _CONFIGURATION, 0, 0, 0]) + avc_configuration(video.extradata)
    payloads = (
        (TagKind.SCRIPT, _metadata(values)),
        (TagKind.PICTURE, avc),
        (TagKind.SOUND, bytes([_AAC, _CONFIGURATION]) + audio.extradata),
    )
    return [Tag(kind, 0, _tag(kind, 0, payload), configuration=True) for kind, payload in payloads]


def packet_tag(packet: Packet) -> Tag | None:
    """The tag of a packet; None for a track that FLV doesn't know."""
    kind = _KINDS.get(packet.track)
    if kind is None:
        return None
    if kind is TagKind.PICTURE:
        begin = bytes([_AVC_KEY if packet.keyframe else _AVC_OTHER, _DATA, 0, 0, 0])
        payload = begin + length_prefixed(packet.data)
    else:
        payload = bytes([_AAC, _DATA]) + packet.data
    time_ms = round(packet.pts * packet.time_base * 1000)
    return Tag(kind, time_ms, _tag(kind, time_ms, payload), keyframe=kind is TagKind.PICTURE and packet.keyframe)


def _tag(kind: TagKind, time_ms: int, payload: bytes) -> bytes:
    time = (time_ms & 0xFFFFFF).to_bytes(3, "big") + bytes([time_ms >> 24 & 0xFF])
    header = bytes([kind]) + len(payload).to_bytes(3, "big") + time + bytes(3)
    return header + payload + struct.pack(">I", len(header) + len(payload))


def _metadata(values: dict[str, float | bool]) -> bytes:
    """`onMetaData` in AMF0: a name, and an array of names with numbers or booleans."""
    entries = b"".join(
        _name(name) + (bytes([1, value]) if isinstance(value, bool) else b"\0" + struct.pack(">d", value))
        for name, value in values.items()
    )
    return b"\2" + _name("onMetaData") + b"\x08" + struct.pack(">I", len(values)) + entries + b"\0\0\x09"


def _name(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()
