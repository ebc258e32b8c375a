"""The form in which pairs reach the encoder's process: a header, the picture where there is one, and the sound."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from streaming.config import FRAME_SAMPLES

SOUND_BYTES = 2 * FRAME_SAMPLES
_HEADER = struct.Struct(">qdB")
_PICTURE, _KEYFRAME = 1, 2


@dataclass(frozen=True)
class PairHeader:
    """Frame `frame` of the stream, due at `due_s` of CLOCK_MONOTONIC; `keyframe` asks for one."""

    frame: int
    due_s: float
    picture: bool
    keyframe: bool

    def to_bytes(self) -> bytes:
        """The header, as `read_header` reads it."""
        return _HEADER.pack(self.frame, self.due_s, _PICTURE * self.picture | _KEYFRAME * self.keyframe)


def read_header(source: BinaryIO) -> PairHeader | None:
    """The next header; None at the end of the stream, also where it ends within the header."""
    data = bytearray(_HEADER.size)
    if not read_into(source, memoryview(data)):
        return None
    frame, due_s, flags = _HEADER.unpack(data)
    return PairHeader(frame, due_s, bool(flags & _PICTURE), bool(flags & _KEYFRAME))


def read_into(source: BinaryIO, memory: memoryview) -> bool:
    """Fills `memory` from an unbuffered source; False where it ends before."""
    while memory:
        count = source.readinto(memory)  # type: ignore[attr-defined]
        if not count:
            return False
        memory = memory[count:]
    return True
