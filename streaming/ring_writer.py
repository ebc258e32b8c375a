"""The producing end of the ring: keeps the speeches of one channel in order and waits for room."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streaming.config import FPS
from streaming.ring import FrameRing


@dataclass
class _Written:
    number: int
    pushed: int = 0
    dropped: bool = False
    finished: bool = False


class RingWriter:
    """Pushes speeches into a ring one after another, in the order in which they were registered."""

    def __init__(self, ring: FrameRing) -> None:
        self._ring = ring
        self._speeches: dict[str, _Written] = {}
        self._next_number = 1
        self._closed = False

    def register(self, speech_id: str) -> tuple[int, bool]:
        """Number of a speech, and whether it is new; raises ValueError for one that has frames already."""
        known = self._speeches.get(speech_id)
        if known is not None and (known.pushed or known.finished):
            raise ValueError(f"speech {speech_id!r} has frames already: it cannot be reserved again")
        if known is not None:
            return known.number, False
        speech = _Written(self._next_number)
        self._next_number += 1
        self._speeches[speech_id] = speech
        return speech.number, True

    def forget(self, speech_id: str) -> None:
        """Takes back a registration that the channel refused."""
        self._speeches.pop(speech_id, None)

    async def push(self, speech_id: str, first: int, faces: NDArray[np.uint8], audio: NDArray[np.int16]) -> None:
        """Copies the frames into the ring as room appears; returns early when the speech is dropped."""
        speech = self._speeches.get(speech_id)
        if speech is None or speech.dropped:
            return
        if first != speech.pushed or speech.finished:
            raise ValueError(f"speech {speech_id!r}: next frame is {speech.pushed}, got {first}")
        speech.pushed += len(faces)
        for offset in range(len(faces)):
            while not speech.dropped and not self._closed:
                if self._is_first(speech) and self._ring.push(
                    speech.number, first + offset, faces[offset], audio[offset]
                ):
                    break
                await asyncio.sleep(0.5 / FPS)  # the consumer frees one slot a frame
            else:
                return

    def finish(self, speech_id: str) -> int | None:
        """Marks a speech as complete and returns its number of frames; None when it is over already."""
        speech = self._speeches.get(speech_id)
        if speech is None or speech.dropped:
            return None
        speech.finished = True
        return speech.pushed

    def drop(self, speech_id: str) -> None:
        """Stops pushing a speech."""
        speech = self._speeches.get(speech_id)
        if speech is not None:
            speech.dropped = True

    def drop_all(self) -> None:
        """Stops pushing every speech."""
        for speech in self._speeches.values():
            speech.dropped = True

    def ended(self, speech_id: str) -> None:
        """Forgets a speech that the channel is done with; a push still waiting for room returns."""
        speech = self._speeches.pop(speech_id, None)
        if speech is not None:
            speech.dropped = True

    def close(self) -> None:
        """Lets every waiting push return."""
        self._closed = True

    def _is_first(self, speech: _Written) -> bool:
        return all(other.finished or other.dropped for other in self._speeches.values() if other.number < speech.number)
