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
    frames: int = 0
    waited: int = 0
    cancelled: bool = False
    ended: bool = False


class RingWriter:
    """Writes speeches into a ring one after another, in the order in which they were registered."""

    def __init__(self, ring: FrameRing) -> None:
        self._ring = ring
        self._speeches: dict[str, _Written] = {}
        self._next_number = 1
        self._closed = False

    def register(self, speech_id: str) -> tuple[int, bool]:
        """Number of a speech, and whether it is new; raises ValueError for one that has frames already."""
        known = self._speeches.get(speech_id)
        if known is not None and (known.frames or known.ended):
            raise ValueError(f"speech {speech_id!r} has frames already: it can't be opened again")
        if known is not None:
            return known.number, False
        speech = _Written(self._next_number)
        self._next_number += 1
        self._speeches[speech_id] = speech
        return speech.number, True

    def forget(self, speech_id: str) -> None:
        """Takes back a registration that the channel refused."""
        self._speeches.pop(speech_id, None)

    async def write(
        self, speech_id: str, first: int, faces: NDArray[np.uint8], sound: NDArray[np.int16], may_pause: bool = False
    ) -> None:
        """Copies the frames into the ring as room appears; returns early when the speech is cancelled.

        `may_pause` says that the speech may pause behind the last of them.
        """
        speech = self._speeches.get(speech_id)
        if speech is None or speech.cancelled:
            return
        if first != speech.frames or speech.ended:
            raise ValueError(f"speech {speech_id!r}: next frame is {speech.frames}, got {first}")
        speech.frames += len(faces)
        for offset in range(len(faces)):
            pauses = may_pause and offset == len(faces) - 1
            while not speech.cancelled and not self._closed:
                if self._is_first(speech) and self._ring.push(
                    speech.number, first + offset, faces[offset], sound[offset], pauses
                ):
                    break
                await asyncio.sleep(0.5 / FPS)  # the consumer frees one slot a frame
            else:
                return

    def unplayed(self, speech_id: str) -> int:
        """Frames of a speech that the channel still has; it lets go of one when it shows the next."""
        speech = self._speeches.get(speech_id)
        # Those of earlier speeches are before them in the ring.
        return 0 if speech is None or speech.cancelled else min(speech.frames, len(self._ring))

    def resumed(self, speech_id: str, late_frames: int) -> None:
        """Notes that the channel has shown so many frames without a speech whose next one was late."""
        speech = self._speeches.get(speech_id)
        if speech is not None:
            speech.waited += late_frames

    def waited(self, speech_id: str) -> int:
        """How many frames the channel has shown without a speech since it began, since its next one was late."""
        speech = self._speeches.get(speech_id)
        return 0 if speech is None else speech.waited

    def end(self, speech_id: str) -> int | None:
        """Marks a speech as complete and returns its number of frames; None when it is over already."""
        speech = self._speeches.get(speech_id)
        if speech is None or speech.cancelled:
            return None
        speech.ended = True
        return speech.frames

    def cancel(self, speech_id: str) -> None:
        """Stops writing a speech."""
        speech = self._speeches.get(speech_id)
        if speech is not None:
            speech.cancelled = True

    def cancel_all(self) -> None:
        """Stops writing every speech."""
        for speech in self._speeches.values():
            speech.cancelled = True

    def ended(self, speech_id: str) -> None:
        """Forgets a speech that the channel is done with; a `write` that still waits for room returns."""
        speech = self._speeches.pop(speech_id, None)
        if speech is not None:
            speech.cancelled = True

    def close(self) -> None:
        """Lets every waiting `write` return."""
        self._closed = True

    def _is_first(self, speech: _Written) -> bool:
        return all(other.ended or other.cancelled for other in self._speeches.values() if other.number < speech.number)
