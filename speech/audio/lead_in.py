"""Less than a frame of silence before a microphone, so that its faces are made just before the stream shows a frame."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from speech.audio.frames import FPS

_FRAME_S = 1 / FPS
_ROUNDING_S = 1e-4
"""Of a wait that is a whole number of blocks."""
_ROUNDING = 1e-4
"""Of the number of blocks that make a frame."""


@dataclass(frozen=True)
class Rhythm:
    """Of one speech and the stream: it may start `takes_s` after the last sound came that its start waits for, whole
    frames aside, and the stream shows a frame at `shown_at`, by the monotonic clock, and each 40 ms before and after.
    """

    takes_s: float
    shown_at: float

    def silence_s(self, begun_at: float, block_s: float) -> float:
        """Silence with which the speech, begun at `begun_at`, may start just when a frame is shown.

        Without it it may start up to 40 ms before, and waits: each of its frames has the sound of so much later. A
        frame is complete at the end of a block, so the silence is a whole number of blocks; 0 where no such number
        makes a frame.
        """
        if abs(_FRAME_S / block_s - round(_FRAME_S / block_s)) > _ROUNDING:
            return 0.0
        early_s = (begun_at + self.takes_s - self.shown_at) % _FRAME_S
        silence_s = math.ceil((early_s - _ROUNDING_S) / block_s) * block_s
        return silence_s if silence_s < _FRAME_S - _ROUNDING_S else 0.0


class LeadIn:
    """Puts the silence before PCM as it arrives, once a frame of it has."""

    def __init__(self, rate_hz: int, sample_bytes: int, looks_ahead: int, rhythm: Callable[[], Rhythm | None]) -> None:
        """`rhythm` is asked once, then; without one there is no silence. `sample_bytes` are those of all channels.

        Frames come `looks_ahead` samples behind their last one; with so much silence more they end with a block.
        """
        self.samples = 0
        """Samples of silence, of each channel."""
        self._rate_hz = rate_hz
        self._sample_bytes = sample_bytes
        self._looks_ahead = looks_ahead
        self._rhythm = rhythm

    async def before(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The blocks, the first ones in one piece behind the silence."""
        held, begun_at, placed = b"", math.inf, False
        async for block in blocks:
            if placed or not block:
                yield block
                continue
            held += block
            # Of the first blocks some may have waited for the speech to be accepted: the one that didn't tells.
            begun_at = min(begun_at, time.monotonic() - self._lasts_s(held))
            if self._lasts_s(held) >= _FRAME_S:
                placed = True
                yield self._silence(begun_at, self._lasts_s(block)) + held
                held = b""
        if held:
            yield held

    def _lasts_s(self, sound: bytes) -> float:
        return len(sound) / self._sample_bytes / self._rate_hz

    def _silence(self, begun_at: float, block_s: float) -> bytes:
        if (rhythm := self._rhythm()) is not None:
            self.samples = round(rhythm.silence_s(begun_at, block_s) * self._rate_hz) + self._looks_ahead
        return bytes(self.samples * self._sample_bytes)
