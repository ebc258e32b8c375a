"""What surrounds the frame numbers: a virtual time, an encoder that only numbers its packets, a target that reads."""

from __future__ import annotations

import random
from collections.abc import Iterator

from streaming.config import FPS, FRAME_SAMPLES, SAMPLE_RATE_HZ, ChannelConfig
from streaming.encoder_steps import ladder
from streaming.ffmpeg_command import EncoderPipes, encoder_command
from streaming.flv_tags import HEADER, TagKind
from streaming.timeline import StreamTimeline, TagQueue

FRAME_MS = 1000 // FPS
_AAC_SAMPLES = 1024


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
    """One run of the encoder: FLV whose picture packets hold the number of their frame.

    Its times begin where the command line has ffmpeg begin them, the very command that a channel would run, and grow by
    counting, as ffmpeg's do.
    """

    def __init__(self, config: ChannelConfig, first_tick: int) -> None:
        command = encoder_command(config, 64, 64, EncoderPipes(3, 4, 5, 6, 7), first_tick, ladder(config, (64, 64))[0])
        self.offset_ms = round(1000 * float(command[command.index("-output_ts_offset") + 1]))
        self._gop = config.gop_frames
        self._frames = 0
        self._samples = 0
        self._packets = 0

    def begin(self) -> bytes:
        """The header and the decoders' parameters."""
        configuration = [_tag(TagKind.PICTURE, 0, b"\x17\x00avcc"), _tag(TagKind.SOUND, 0, b"\xaf\x00asc")]
        return HEADER + b"".join(configuration)

    def encode(self, tick: int) -> bytes:
        """The packets of one pair: a picture, and the sound that is complete by now."""
        keyframe = self._frames % self._gop == 0
        header = b"\x17\x01" if keyframe else b"\x27\x01"
        data = _tag(TagKind.PICTURE, self.offset_ms + self._frames * FRAME_MS, header + tick.to_bytes(8, "big"))
        self._frames += 1
        self._samples += FRAME_SAMPLES
        while self._samples >= (self._packets + 1) * _AAC_SAMPLES:
            time_ms = self.offset_ms + round(self._packets * _AAC_SAMPLES * 1000 / SAMPLE_RATE_HZ)
            data += _tag(TagKind.SOUND, time_ms, b"\xaf\x01")
            self._packets += 1
        return data


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
                number = int.from_bytes(tag.data[13:21], "big") if tag.kind is TagKind.PICTURE else -1
                yield tag.kind, tag.time_ms, number


def _tag(kind: TagKind, time_ms: int, payload: bytes) -> bytes:
    size = len(payload)
    low, high = time_ms & 0xFFFFFF, time_ms >> 24
    return (
        bytes((kind,))
        + size.to_bytes(3, "big")
        + low.to_bytes(3, "big")
        + bytes((high, 0, 0, 0))
        + payload
        + (11 + size).to_bytes(4, "big")
    )
