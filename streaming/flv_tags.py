"""Splits a live FLV byte stream into tags, the unit in which targets are sent the stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

HEADER = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00"
"""Header of an FLV with video and audio."""

_TAG_HEADER = 11
_TRAILER = 4
_KEYFRAME = 1
_CONFIGURATION, _END_OF_SEQUENCE = 0, 2


class TagKind(IntEnum):
    """What a tag carries."""

    SOUND = 8
    PICTURE = 9
    SCRIPT = 18


@dataclass(frozen=True)
class Tag:
    """One FLV tag with its header in `data`; a `configuration` holds decoder parameters and has no timestamp."""

    kind: TagKind
    time_ms: int
    data: bytes
    keyframe: bool = False
    configuration: bool = False


class FlvParser:
    """An incremental parser; raises ValueError for data that is no FLV."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[Tag]:
        """Yields the tags that `data` completes."""
        self._buffer += data
        if not self._begun:
            if len(self._buffer) < len(HEADER):
                return
            if self._buffer[:3] != b"FLV":
                raise ValueError(f"no FLV: it begins with {bytes(self._buffer[:3])!r}")
            del self._buffer[: len(HEADER)]
            self._begun = True
        while (whole := self._take()) is not None:
            # Each encoder run ends with an end-of-sequence tag; the joined stream goes on.
            if not _ends_sequence(whole):
                yield _tag(whole)

    def _take(self) -> bytes | None:
        if len(self._buffer) < _TAG_HEADER:
            return None
        size = int.from_bytes(self._buffer[1:4], "big")
        whole = _TAG_HEADER + size + _TRAILER
        if len(self._buffer) < whole:
            return None
        data = bytes(self._buffer[:whole])
        del self._buffer[:whole]
        return data


def _tag(data: bytes) -> Tag:
    kind = TagKind(data[0] & 0x1F)
    time_ms = int.from_bytes(data[4:7], "big") | data[7] << 24
    payload = data[_TAG_HEADER : _TAG_HEADER + 2]
    if kind is TagKind.SCRIPT or len(payload) < 2:
        return Tag(kind, time_ms, data, configuration=True)
    configuration = payload[1] == _CONFIGURATION  # AVCPacketType and AACPacketType alike
    keyframe = kind is TagKind.PICTURE and payload[0] >> 4 == _KEYFRAME and not configuration
    return Tag(kind, time_ms, data, keyframe, configuration)


def _ends_sequence(data: bytes) -> bool:
    return data[0] & 0x1F == TagKind.PICTURE and data[_TAG_HEADER + 1] == _END_OF_SEQUENCE
