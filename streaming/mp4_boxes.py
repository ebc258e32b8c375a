"""The boxes of a fragmented MP4 with one H.264 and one AAC track (ISO/IEC 14496-12, -14 and -15)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from streaming.packet import TrackDescription

_VIDEO, _AUDIO = 1, 2
AAC_FRAME = 1024
"""Samples of one packet of AAC."""
_KEY_SAMPLE, _OTHER_SAMPLE = 0x02000000, 0x01010000
"""Sample flags: depends on no other; depends on others, and isn't a sync sample."""
_IDENTITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


@dataclass(frozen=True)
class Sample:
    """A coded picture or frame of sound; `time` in its track's ticks."""

    time: int
    data: bytes
    keyframe: bool


def init_segment(video: TrackDescription, video_scale: int, configuration: bytes, audio: TrackDescription) -> bytes:
    """ftyp and moov; `video_scale` are the pictures' ticks a second, `configuration` is what avcC holds."""
    return _box(b"ftyp", b"iso5", _u32(512), b"iso5iso6mp41") + _moov(video, video_scale, configuration, audio)


def fragment(sequence: int, pictures: list[Sample], picture_ticks: int, sounds: list[Sample]) -> bytes:
    """moof and mdat of samples that follow one another; a picture lasts `picture_ticks`. Not both may be empty."""
    tracks = [(_VIDEO, pictures, picture_ticks), (_AUDIO, sounds, AAC_FRAME)]
    tracks = [track for track in tracks if track[1]]
    mfhd = _full_box(b"mfhd", 0, 0, struct.pack(">I", sequence))
    # Twice: the offsets of the samples depend on the length of the moof.
    offsets = [0] * len(tracks)
    for _ in range(2):
        trafs = [_traf(*track, offset) for track, offset in zip(tracks, offsets, strict=True)]
        moof = _box(b"moof", mfhd, *trafs)
        at = len(moof) + 8
        for place, (_, samples, _) in enumerate(tracks):
            offsets[place] = at
            at += sum(len(sample.data) for sample in samples)
    return moof + _box(b"mdat", *(sample.data for _, samples, _ in tracks for sample in samples))


def _traf(track: int, samples: list[Sample], ticks: int, offset: int) -> bytes:
    flags = _OTHER_SAMPLE if track == _VIDEO else _KEY_SAMPLE
    # Offsets count from the moof; one duration and one set of flags for all samples.
    tfhd = _full_box(b"tfhd", 0, 0x020028, struct.pack(">III", track, ticks, flags))
    tfdt = _full_box(b"tfdt", 1, 0, struct.pack(">Q", samples[0].time))
    first = _KEY_SAMPLE if samples[0].keyframe else flags
    sizes = struct.pack(f">{len(samples)}I", *(len(sample.data) for sample in samples))
    # Offset, flags of the first sample, and a size for each.
    trun = _full_box(b"trun", 0, 0x000205, struct.pack(">IiI", len(samples), offset, first), sizes)
    return _box(b"traf", tfhd, tfdt, trun)


def _moov(video: TrackDescription, video_scale: int, configuration: bytes, audio: TrackDescription) -> bytes:
    mvhd = _full_box(
        b"mvhd", 0, 0, struct.pack(">4IIH10x", 0, 0, 1000, 0, 1 << 16, 1 << 8), _IDENTITY, bytes(24), _u32(3)
    )
    sides = struct.pack(">HHII4xH32xHh", video.width, video.height, 72 << 16, 72 << 16, 1, 24, -1)
    avc1 = _box(b"avc1", bytes(6), struct.pack(">H16x", 1), sides, _box(b"avcC", configuration))
    mp4a = _box(
        b"mp4a", bytes(6), struct.pack(">H8xHH4xI", 1, audio.channels, 16, audio.sample_rate_hz << 16), _esds(audio)
    )
    video_track = _trak(_VIDEO, video_scale, b"vide", _full_box(b"vmhd", 0, 1, bytes(8)), avc1, video)
    audio_track = _trak(_AUDIO, audio.sample_rate_hz, b"soun", _full_box(b"smhd", 0, 0, bytes(4)), mp4a, audio)
    trexes = (_full_box(b"trex", 0, 0, struct.pack(">5I", track, 1, 0, 0, 0)) for track in (_VIDEO, _AUDIO))
    return _box(b"moov", mvhd, video_track, audio_track, _box(b"mvex", *trexes))


def _trak(track: int, scale: int, handler: bytes, header: bytes, entry: bytes, description: TrackDescription) -> bytes:
    volume = 1 << 8 if handler == b"soun" else 0
    sides = struct.pack(">II", description.width << 16, description.height << 16)
    tkhd = _full_box(b"tkhd", 0, 3, struct.pack(">5I8xhhH2x", 0, 0, track, 0, 0, 0, 0, volume), _IDENTITY, sides)
    mdhd = _full_box(b"mdhd", 0, 0, struct.pack(">4IHH", 0, 0, scale, 0, 0x55C4, 0))  # language: undetermined
    hdlr = _full_box(b"hdlr", 0, 0, bytes(4), handler, bytes(12), b"\0")
    dinf = _box(b"dinf", _full_box(b"dref", 0, 0, _u32(1), _full_box(b"url ", 0, 1)))
    tables = ((b"stts", 4), (b"stsc", 4), (b"stsz", 8), (b"stco", 4))
    empty = (_full_box(kind, 0, 0, bytes(size)) for kind, size in tables)
    stbl = _box(b"stbl", _full_box(b"stsd", 0, 0, _u32(1), entry), *empty)
    return _box(b"trak", tkhd, _box(b"mdia", mdhd, hdlr, _box(b"minf", header, dinf, stbl)))


def _esds(audio: TrackDescription) -> bytes:
    """The AudioSpecificConfig in its descriptors (ISO/IEC 14496-1, 7.2.6)."""
    specific = _descriptor(5, audio.extradata)
    decoder = _descriptor(4, bytes([0x40, 0x15]) + bytes(11) + specific)  # MPEG-4 AAC, an audio stream
    return _full_box(b"esds", 0, 0, _descriptor(3, bytes(3) + decoder + _descriptor(6, b"\2")))


def _descriptor(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content


def _u32(value: int) -> bytes:
    return struct.pack(">I", value)


def _full_box(kind: bytes, version: int, flags: int, *content: bytes) -> bytes:
    return _box(kind, _u32(version << 24 | flags), *content)


def _box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return _u32(8 + len(data)) + kind + data
