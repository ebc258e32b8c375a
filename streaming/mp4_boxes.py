"""Splits a fragmented MP4 that arrives in pieces into its initialisation segment and its fragments."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}
_NON_SYNC_SAMPLE = 0x10000
_MAX_BOX_BYTES = 64 << 20


@dataclass(frozen=True)
class InitSegment:
    """ftyp and moov: what a player needs before any fragment; `codecs` as MediaSource wants them."""

    data: bytes
    video_track: int
    codecs: str


@dataclass(frozen=True)
class Fragment:
    """moof and mdat; `keyframe` says that its first picture needs no other."""

    data: bytes
    keyframe: bool


class FragmentParser:
    """Takes bytes as they come and yields the segments that they complete; raises ValueError on what is no MP4.

    ffmpeg's MP4 muxer lets every run begin at zero; here each fragment's time is moved by `start_s`, so that a player
    sees one timeline over all runs.
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self._start_s = start_s
        self._timescales: dict[int, int] = {}
        self._buffer = bytearray()
        self._pending = bytearray()
        self._moof = b""
        self._video_track = 0

    def feed(self, data: bytes) -> Iterator[InitSegment | Fragment]:
        """Segments completed by `data`."""
        self._buffer += data
        while (box := self._take_box()) is not None:
            kind, content = box
            self._pending += content
            if kind == b"moov":
                yield self._init_segment(content)
            elif kind == b"moof":
                self._moof = content
                self._move(len(self._pending) - len(content))
            elif kind == b"mdat":
                yield Fragment(self._take_pending(), _starts_with_keyframe(self._moof, self._video_track))

    def _take_box(self) -> tuple[bytes, bytes] | None:
        if len(self._buffer) < 8:
            return None
        size, kind = struct.unpack_from(">I4s", self._buffer)
        if not 8 <= size <= _MAX_BOX_BYTES or not kind.isalnum():
            raise ValueError(f"no MP4 box: type {kind!r}, {size} bytes")
        if len(self._buffer) < size:
            return None
        content = bytes(self._buffer[:size])
        del self._buffer[:size]
        return kind, content

    def _take_pending(self) -> bytes:
        data = bytes(self._pending)
        self._pending.clear()
        return data

    def _move(self, offset: int) -> None:
        """Adds the start to the times (tfdt) of the moof that lies at `offset` of what is pending."""
        track = 0
        for kind, content, at in _walk(self._moof):
            if kind == b"tfhd":
                track = struct.unpack_from(">I", content, 4)[0]
            elif kind == b"tfdt":
                layout = ">Q" if content[0] else ">I"
                time = struct.unpack_from(layout, content, 4)[0]
                time += round(self._start_s * self._timescales[track])
                struct.pack_into(layout, self._pending, offset + at + 4, time)

    def _init_segment(self, moov: bytes) -> InitSegment:
        boxes = {kind: content for kind, content, _ in _walk(moov)}
        self._video_track, self._timescales = _tracks(moov)
        avcc = boxes.get(b"stsd_avcC", b"")
        video = f"avc1.{avcc[1:4].hex()}" if len(avcc) >= 4 else ""
        return InitSegment(self._take_pending(), self._video_track, f"{video},mp4a.40.2" if video else "")


def _walk(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, bytes, int]]:
    """All boxes (type, content without header, offset of the content) in depth-first order."""
    position, end = start, len(data) if end is None else end
    while position + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, position)
        if size < 8:
            return
        yield kind, data[position + 8 : position + size], position + 8
        if kind in _CONTAINERS:
            yield from _walk(data, position + 8, position + size)
        elif kind == b"stsd":
            at = data.find(b"avcC", position, position + size)
            if at >= 0:
                yield b"stsd_avcC", data[at + 4 : position + size], at + 4
        position += size


def _tracks(moov: bytes) -> tuple[int, dict[int, int]]:
    """Id of the video track, and ticks per second of every track."""
    track, video = 0, None
    timescales = {}
    for kind, content, _ in _walk(moov):
        if kind == b"tkhd":
            track = struct.unpack_from(">I", content, 20 if content[0] else 12)[0]
        elif kind == b"mdhd":
            timescales[track] = struct.unpack_from(">I", content, 20 if content[0] else 12)[0]
        elif kind == b"hdlr" and content[8:12] == b"vide":
            video = track
    if video is None:
        raise ValueError("the MP4 holds no video track")
    return video, timescales


def _starts_with_keyframe(moof: bytes, video_track: int) -> bool:
    """Whether the first video sample is a sync sample (ISO/IEC 14496-12: tfhd and trun sample flags)."""
    track, default_flags = 0, None
    for kind, content, _ in _walk(moof):
        if kind == b"tfhd":
            flags, track = struct.unpack_from(">II", content)
            # Optional fields in this order: base offset (8 bytes), description, duration, size, flags (4 each).
            offset = 8 + 8 * bool(flags & 0x1) + 4 * sum(bool(flags & bit) for bit in (0x2, 0x8, 0x10))
            default_flags = struct.unpack_from(">I", content, offset)[0] if flags & 0x20 else None
        elif kind == b"trun" and track == video_track:
            return _first_sample_is_sync(content, default_flags)
    return False


def _first_sample_is_sync(trun: bytes, default_flags: int | None) -> bool:
    flags, count = struct.unpack_from(">II", trun)
    if count == 0:
        return False
    offset = 8 + 4 * bool(flags & 0x1)
    if flags & 0x4:
        sample_flags = struct.unpack_from(">I", trun, offset)[0]
    elif flags & 0x400:
        offset += 4 * sum(bool(flags & bit) for bit in (0x100, 0x200))
        sample_flags = struct.unpack_from(">I", trun, offset)[0]
    else:
        sample_flags = _NON_SYNC_SAMPLE if default_flags is None else default_flags
    return not sample_flags & _NON_SYNC_SAMPLE
