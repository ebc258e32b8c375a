"""A few seconds of a stream as the encoder gives it."""

from __future__ import annotations

import numpy as np

from streaming.config import FPS, FRAME_SAMPLES
from streaming.encoder_settings import EncoderSettings
from streaming.encoding import Encoding
from streaming.packet import Description, Packet
from streaming.pair_stream import PairHeader

WIDTH, HEIGHT = 160, 128


def settings(run: int = 1, **values: int) -> EncoderSettings:
    """A small picture, with a keyframe each second."""
    given = {"width": WIDTH, "height": HEIGHT, "out_width": WIDTH, "out_height": HEIGHT, "frame_step": 1, **values}
    return EncoderSettings(
        run, letterbox=False, preset="veryfast", gop_frames=FPS, video_bitrate_kbps=400, threads=1, **given
    )


def encoded(frames: int, run: int = 1, first: int = 0) -> list[Description | Packet]:
    """A grey picture that grows brighter, with a tone, from a frame number on; due at that frame's time."""
    encoding = Encoding(settings(run))
    messages: list[Description | Packet] = [encoding.description]
    for frame in range(first, first + frames):
        memoryview(encoding.picture.planes[0]).cast("B")[:] = bytes([20 + 2 * frame % 200]) * (WIDTH * HEIGHT * 3)
        at = np.arange(frame * FRAME_SAMPLES, (frame + 1) * FRAME_SAMPLES)
        tone = (8000 * np.sin(at / 17)).astype(np.int16)
        header = PairHeader(frame, 1000 + frame / FPS, picture=True, keyframe=False)
        messages += encoding.encode(header, tone.tobytes())
    return [*messages, *encoding.finish()]
