"""Buffers for the pictures of a channel, all of one size, made at the start and used again."""

from __future__ import annotations

import mmap
from collections import deque

import numpy as np
from numpy.typing import NDArray

_POOLED = 8  # a third of a second that may wait for the encoder


class FramePool:
    """Reused picture buffers, all made at the start; the latest used is used first, since it is in the cache."""

    def __init__(self, height: int, width: int) -> None:
        self._shape = (height, width, 3)
        self._free = deque(self._picture() for _ in range(_POOLED))
        for picture in self._free:
            picture.fill(0)  # touches every page now: page faults would come when time is short

    def take(self) -> NDArray[np.uint8]:
        """A buffer uint8 [H, W, 3] with undefined content; a new one while all others wait for the encoder."""
        try:
            return self._free.pop()
        except IndexError:
            return self._picture()

    def give_back(self, buffer: NDArray[np.uint8]) -> None:
        """Makes a buffer free again; the extra buffers of a backlog are released."""
        if len(self._free) < _POOLED:
            self._free.append(buffer)

    def _picture(self) -> NDArray[np.uint8]:
        # Not from malloc: it would keep the hundreds of megabytes of a backlog for ever.
        memory = mmap.mmap(-1, int(np.prod(self._shape)), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return np.frombuffer(memory, np.uint8).reshape(self._shape)
