"""Samples of one rate on their way from a pipe to frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BYTES_PER_SAMPLE = 2


class SampleBytes:
    """Samples of one rate, int16, as they are read; `peak` is the loudest of those that were taken."""

    def __init__(self, per_frame: int) -> None:
        self._per_frame = per_frame
        self._bytes = bytearray()
        self._received = 0
        self.peak = 0

    @property
    def count(self) -> int:
        """How many samples came in all."""
        return self._received // _BYTES_PER_SAMPLE

    @property
    def whole_frames(self) -> int:
        """Frames that could be taken."""
        return len(self._bytes) // (self._per_frame * _BYTES_PER_SAMPLE)

    def add(self, block: bytes) -> None:
        """Append what was read; it may end within a sample."""
        self._bytes += block
        self._received += len(block)

    def take(self, frames: int) -> NDArray[np.int16]:
        """The next frames, int16 [frames, samples per frame]."""
        size = frames * self._per_frame * _BYTES_PER_SAMPLE
        samples = np.frombuffer(bytes(self._bytes[:size]), dtype="<i2").astype(np.int16)
        del self._bytes[:size]
        self.peak = max(self.peak, int(np.abs(samples.astype(np.int32)).max(initial=0)))
        return samples.reshape(frames, self._per_frame)

    def fill_up(self) -> int:
        """Fill up the last frame with zeros; returns how many frames are left."""
        frame = self._per_frame * _BYTES_PER_SAMPLE
        self._bytes += bytes(-len(self._bytes) % frame)
        return len(self._bytes) // frame

    def fit(self, frames: int) -> None:
        """Fill up with zeros, or cut, to exactly so many frames."""
        size = frames * self._per_frame * _BYTES_PER_SAMPLE
        del self._bytes[size:]
        self._bytes += bytes(size - len(self._bytes))
