"""Bounded ring of speech frames in anonymous shared memory, between one producer and one consumer process."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.config import FRAME_SAMPLES

_LINE = 64  # each of the two indices has a cache line of its own


@dataclass(frozen=True)
class Slot:
    """One speech frame; `face` uint8 [R, R, 3] and `audio` int16 [1920] are views, valid until `release`.

    `may_pause` says that the speech may pause behind it.
    """

    speech: int
    frame: int
    face: NDArray[np.uint8]
    audio: NDArray[np.int16]
    may_pause: bool


class FrameRing:
    """Single-producer, single-consumer ring of (speech number, frame number, face, 1920 samples).

    The memory has no name: it lives as long as a process holds its descriptor, so that no crash can leak it.
    """

    def __init__(self, fd: int, slots: int, resolution: int) -> None:
        self.fd = fd
        self.slots = slots
        self.resolution = resolution
        dtype = _slot_dtype(resolution)
        # Populated now: pages that are allocated on first use could run out in the middle of a speech.
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        self._memory = mmap.mmap(fd, 2 * _LINE + slots * dtype.itemsize, flags)
        # `frombuffer` holds the mapping open for its views; `ndarray(…, buffer)` would let it be closed beneath them.
        all_bytes = np.frombuffer(self._memory, np.uint8)
        self._written: NDArray[np.int64] = all_bytes[:8].view(np.int64)
        self._read: NDArray[np.int64] = all_bytes[_LINE : _LINE + 8].view(np.int64)
        self._array: NDArray[Any] = all_bytes[2 * _LINE :].view(dtype)
        self._barrier = threading.Lock()

    @classmethod
    def create(cls, slots: int, resolution: int) -> FrameRing:
        """A new empty ring whose descriptor `fd` a child process may inherit."""
        fd = os.memfd_create("latentsync-ring", os.MFD_CLOEXEC)
        os.ftruncate(fd, 2 * _LINE + slots * _slot_dtype(resolution).itemsize)
        return cls(fd, slots, resolution)

    @property
    def free(self) -> int:
        """Frames that can be pushed now."""
        return self.slots - len(self)

    def __len__(self) -> int:
        return int(self._written[0] - self._read[0])

    def push(
        self, speech: int, frame: int, face: NDArray[np.uint8], audio: NDArray[np.int16], may_pause: bool = False
    ) -> bool:
        """Copies one frame in; False when the ring is full."""
        if self.free <= 0:
            return False
        index = int(self._written[0])
        slot = self._array[index % self.slots]
        slot["speech"] = speech
        slot["frame"] = frame
        slot["may_pause"] = may_pause
        slot["face"][...] = face
        slot["audio"][...] = audio
        self._publish(self._written, index + 1)
        return True

    def peek(self, ahead: int = 0) -> Slot | None:
        """The frame `ahead` places after the oldest, not released; None when it is not there yet."""
        if ahead >= len(self):
            return None
        slot = self._array[(int(self._read[0]) + ahead) % self.slots]
        return Slot(int(slot["speech"]), int(slot["frame"]), slot["face"], slot["audio"], bool(slot["may_pause"]))

    def release(self) -> None:
        """Frees the oldest slot for the producer; raises IndexError when the ring is empty."""
        if not len(self):
            raise IndexError("the ring is empty")
        self._publish(self._read, int(self._read[0]) + 1)

    def close(self) -> None:
        """Ends this process's use of the ring; the memory is freed when no process maps it any more.

        At once, since whoever holds the ring may live on. Only slots that were peeked, and are held, keep it mapped.
        """
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            del self._written, self._read, self._array  # without them the mapping can be closed
            with contextlib.suppress(BufferError):  # a slot is held: the mapping ends with it
                self._memory.close()

    def _publish(self, index: NDArray[np.int64], value: int) -> None:
        # A lock is a memory barrier on every processor: the slot's bytes are visible before its index is.
        with self._barrier:
            index[0] = value


def _slot_dtype(resolution: int) -> np.dtype[Any]:
    return np.dtype(
        [
            ("speech", np.int64),
            ("frame", np.int64),
            ("may_pause", np.int64),
            ("audio", np.int16, (FRAME_SAMPLES,)),
            ("face", np.uint8, (resolution, resolution, 3)),
        ],
        align=True,
    )
