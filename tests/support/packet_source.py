"""Stands where a channel's encoder stands: a test pattern as packets on a Unix socket, at the pace of the clock."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from streaming import pattern
from streaming.config import FPS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from streaming.packet import Description, Packet, Track, TrackDescription
from streaming.packet_server import PacketServer

_FRAME_S = 1 / FPS
_OPUS_SAMPLES = 960
_GOP_FRAMES = 50


class PacketSource:
    """Pictures with their number, with a flash and a beep each second; as a context manager it runs in a thread."""

    def __init__(
        self, path: Path, size: tuple[int, int] = (480, 320), sound_delay_frames: int = 0, first_number: int = 0
    ) -> None:
        """`sound_delay_frames` publishes sound that much after its pictures, as an encoder with a delay does."""
        self.keyframe_requests = 0
        self.started_at: float | None = None
        self._size = size
        self._delay = sound_delay_frames
        self._first = first_number
        self._wanted = threading.Event()
        self._ended = threading.Event()
        self._server = PacketServer(path, self._want_keyframe)
        self._thread = threading.Thread(target=self._run, name="packet-source")

    def __enter__(self) -> PacketSource:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._server.close()

    def _want_keyframe(self) -> None:
        self.keyframe_requests += 1
        self._wanted.set()

    def _run(self) -> None:
        width, height = self._size
        video = av.CodecContext.create("libx264", "w")
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.framerate, video.time_base, video.thread_count = Fraction(FPS), Fraction(1, FPS), 1
        video.bit_rate = 800_000
        video.options = {
            "preset": "ultrafast", "tune": "zerolatency", "profile": "baseline",
            "g": str(_GOP_FRAMES), "forced-idr": "1",
        }  # fmt: skip
        audio = av.CodecContext.create("libopus", "w")
        audio.sample_rate, audio.layout, audio.format = SAMPLE_RATE_HZ, "mono", "s16"
        audio.time_base, audio.options = Fraction(1, SAMPLE_RATE_HZ), {"application": "lowdelay"}
        self._server.publish(
            Description(1, (TrackDescription(Track.H264, b"", width, height), TrackDescription(Track.OPUS, b"")))
        )
        picture = np.full((height, width, 3), 90, np.uint8)
        waiting: list[Packet] = []
        number = self._first
        self.started_at = time.monotonic()
        begin = self.started_at - number * _FRAME_S
        while not self._ended.wait(max(0.0, begin + number * _FRAME_S - time.monotonic())):
            due = begin + number * _FRAME_S
            picture[64:] = number % 200
            pattern.stamp(picture, number)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts = number
            frame.pict_type = av.video.frame.PictureType.I if self._wanted.is_set() else av.video.frame.PictureType.NONE
            self._wanted.clear()
            for packet in video.encode(frame):
                self._server.publish(
                    Packet(Track.H264, number, Fraction(1, FPS), packet.is_keyframe, bytes(packet), due)
                )
            waiting += self._sound(audio, number, due)
            per_frame = FRAME_SAMPLES // _OPUS_SAMPLES
            while len(waiting) > self._delay * per_frame:
                self._server.publish(waiting.pop(0))
            number += 1

    def _sound(self, audio: av.AudioCodecContext, number: int, due: float) -> list[Packet]:
        samples = np.frombuffer(pattern.sound(bytes(2 * FRAME_SAMPLES), number), np.int16)
        packets = []
        for begin in range(0, FRAME_SAMPLES, _OPUS_SAMPLES):
            frame = av.AudioFrame.from_ndarray(
                samples[None, begin : begin + _OPUS_SAMPLES], format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, number * FRAME_SAMPLES + begin
            frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
            packets += [
                Packet(Track.OPUS, number * FRAME_SAMPLES + begin, Fraction(1, SAMPLE_RATE_HZ), True, bytes(each), due)
                for each in audio.encode(frame)
            ]
        return packets
