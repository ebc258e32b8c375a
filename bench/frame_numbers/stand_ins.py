"""What surrounds the frame numbers: a virtual time, an encoder that only numbers its packets, a target that reads."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction

from streaming.config import FPS, FRAME_SAMPLES, SAMPLE_RATE_HZ, ChannelConfig
from streaming.flv_tags import TagKind
from streaming.packet import START_FRAMES, Description, Packet, Track, TrackDescription
from streaming.timeline import StreamTimeline, TagQueue

FRAME_MS = 1000 // FPS
_AAC_SAMPLES = 1024
_PICTURE_BASE, _SOUND_BASE = Fraction(1, FPS), Fraction(1, SAMPLE_RATE_HZ)
_NAL_UNIT = b"\0\0\0\1\x65"
_PARAMETERS = b"\0\0\0\1\x67\x42\xc0\x1e\0\0\0\1\x68\xce"


class VirtualTime:
    """A monotonic clock that moves only when somebody sleeps; a sleep ends up to 2 ms late, as on a busy machine."""

    def __init__(self, seed: int) -> None:
        self.now_s = 1_000_000.0
        self._random = random.Random(seed)

    def now(self) -> float:
        """Seconds."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds + 0.002 * self._random.random()

    def stall(self, seconds: float) -> None:
        """The process gets no core for so long."""
        self.now_s += seconds


class NumberingEncoder:
    """One run of the encoder: packets that hold the number of their frame. Its sound grows by counting samples."""

    def __init__(self, config: ChannelConfig, run: int, first_tick: int) -> None:
        self._timeline_frames = config.timeline_frames
        self._run = run
        self._gop = config.gop_frames
        self._frames = 0
        self._first_sample = (START_FRAMES + first_tick % config.timeline_frames) * FRAME_SAMPLES
        self._samples = 0
        self._packets = 0

    def begin(self) -> Description:
        """The decoders' parameters."""
        video = TrackDescription(Track.H264, _PARAMETERS, 64, 64, frames_per_second=FPS)
        audio = TrackDescription(Track.AAC, b"\x11\x90", sample_rate_hz=SAMPLE_RATE_HZ, channels=2)
        return Description(self._run, (video, audio))

    def encode(self, tick: int) -> Iterator[Packet]:
        """The packets of one pair: a picture, and the sound that is complete by now."""
        keyframe = self._frames % self._gop == 0
        pts = START_FRAMES + tick % self._timeline_frames
        yield Packet(Track.H264, pts, _PICTURE_BASE, keyframe, _NAL_UNIT + b"%020d" % tick, 0.0)
        self._frames += 1
        self._samples += FRAME_SAMPLES
        while self._samples >= (self._packets + 1) * _AAC_SAMPLES:
            pts = self._first_sample + self._packets * _AAC_SAMPLES
            yield Packet(Track.AAC, pts, _SOUND_BASE, True, b"aac", 0.0)
            self._packets += 1


class Target:
    """An RTMP target: it reads what it has subscribed to, and connects again when the times begin anew."""

    def __init__(self, timeline: StreamTimeline) -> None:
        self.connections = 0
        self._timeline = timeline
        self._queue: TagQueue | None = None

    def received(self) -> Iterator[tuple[TagKind, int, int]]:
        """Kind, time in ms, and number of the frame (-1 for sound) of all packets that have come since."""
        if self._queue is None or self._queue.ended:
            _, self._queue = self._timeline.subscribe()
            self.connections += 1
        while (tag := self._queue.take(0)) is not None:
            if not tag.configuration:
                number = int(tag.data[-24:-4]) if tag.kind is TagKind.PICTURE else -1
                yield tag.kind, tag.time_ms, number
