"""Live PCM of 16 bits as a source of frames."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable

import numpy as np

from speech.audio.errors import CutSample
from speech.audio.lead_in import LeadIn, Rhythm
from speech.audio.resampling import Framer
from speech.log import SoundFrames

_SAMPLE_BYTES = 2
_PIECE_S = 0.25  # a message of a minute must not hold up the event loop, nor come into the log as one


class PcmSource:
    """Interleaved samples, little-endian unless told otherwise, cut anywhere; raises ValueError as Framer does."""

    def __init__(
        self,
        rate_hz: int,
        channels: int,
        big_endian: bool = False,
        rhythm: Callable[[], Rhythm | None] = lambda: None,
    ) -> None:
        """`rhythm` is that of what somebody speaks now."""
        self._framer = Framer(rate_hz, channels)
        self._lead_in = LeadIn(rate_hz, _SAMPLE_BYTES * channels, self._framer.looks_ahead, rhythm)
        self._type = ">i2" if big_endian else "<i2"
        self.rate_hz = rate_hz

    @property
    def samples(self) -> int:
        """Samples of each channel that have arrived."""
        return self._framer.received - self.silent_samples

    @property
    def silent_samples(self) -> int:
        """Samples of silence that its frames hold before them."""
        return self._lead_in.samples

    async def frames(self, blocks: AsyncIterator[bytes]) -> AsyncGenerator[SoundFrames, None]:
        """The frames, as they are complete; raises CutSample after the last one."""
        channels = self._framer.channels
        size = _SAMPLE_BYTES * channels
        most = round(_PIECE_S * self.rate_hz) * size
        carried = b""
        async for block in self._lead_in.before(blocks):
            data = carried + block
            whole = len(data) - len(data) % size
            carried = data[whole:]
            for first in range(0, whole, most):
                piece = np.frombuffer(data[first : min(first + most, whole)], self._type)
                if len(frames := self._framer.push(piece.astype(np.int16).reshape(-1, channels))):
                    yield frames
        if len(last := self._framer.finish()):
            yield last
        if carried:
            raise CutSample(f"The sound ends with {len(carried)} bytes of a sample of {size}: the rest is missing.")
