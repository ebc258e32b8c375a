"""What a run of the encoder is told at its start."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from fractions import Fraction

from streaming.config import ChannelConfig
from streaming.encoder_steps import EncoderStep


@dataclass(frozen=True)
class EncoderSettings:
    """One run: the pictures that come, the pictures that go out, and how they are encoded.

    Sides are pixels. `letterbox` keeps the shape of the pictures, with black borders. One of `frame_step` frames has a
    picture; `gop_frames` counts pictures. All values can be held by JSON, which the encoder's process gets.
    """

    run: int
    width: int
    height: int
    out_width: int
    out_height: int
    letterbox: bool
    preset: str
    frame_step: int
    gop_frames: int
    video_bitrate_kbps: int
    threads: int

    @classmethod
    def of(cls, config: ChannelConfig, size: tuple[int, int], run: int, step: EncoderStep) -> EncoderSettings:
        """The settings of a run of this channel, whose pictures have this size, at one step of the encoder."""
        width, height = size
        whole = config.picture_size or (width // 2 * 2, height // 2 * 2)
        out_width, out_height = (_scaled(side, step.scale) for side in whole)
        return cls(
            run, width, height, out_width, out_height, config.picture_size is not None, step.preset, step.frame_step,
            max(1, config.gop_frames // step.frame_step), config.video_bitrate_kbps, config.encoder_threads,
        )  # fmt: skip

    def to_json(self) -> str:
        """All values, as `from_json` reads them."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> EncoderSettings:
        """The inverse of `to_json`; raises TypeError for other names."""
        return cls(**json.loads(text))


def _scaled(side: int, scale: Fraction) -> int:
    return 2 * round(side * scale / 2)
