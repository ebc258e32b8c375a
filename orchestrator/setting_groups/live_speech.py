"""Settings of speech that arrives live."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from speech.live import WindowKind


def _number(value: object) -> object:
    """The environment has texts alone, and a literal takes no text for a number."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


ChunkFrames = Annotated[Literal[4, 8, 16], BeforeValidator(_number)]


class LiveSpeechSettings(BaseModel):
    """How much live speech is taken, and how soon its lips are made."""

    live_sockets: int = Field(
        32, ge=1, le=10_000, description="sockets for live speech that may be open at once; one caller may have half"
    )
    live_speech_limit_s: float = Field(3600.0, gt=0, le=86_400, description="longest speech that arrives live")
    live_ahead_s: float = Field(
        30.0, ge=1, le=3600, description="how far live speech is received ahead of what was played; then it waits"
    )
    live_idle_limit_s: float = Field(
        30.0, gt=0, le=3600, description="how long live speech may bring nothing before it counts as lost"
    )
    live_silence_limit_s: float = Field(
        120.0, gt=0, le=86_400, description="how long live speech may be silent before it is ended"
    )
    live_look_ahead_frames: int = Field(
        5, ge=0, le=25, description="frames of 40 ms that live speech is heard beyond a frame before its lips are made"
    )
    live_chunk_frames: ChunkFrames = Field(
        8, description="frames that a chunk of live speech has at least: fewer are sooner there, and cost more"
    )
    live_window: WindowKind = Field(
        WindowKind.AUTO,
        description="what Whisper hears of live speech for each chunk: growing up to 30 s, or short of 8 s; auto: "
        "growing on a GPU",
    )
