"""The consuming end of the ring: tells the mixer which frames have arrived, and keeps the face that is shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streaming.mixer import Mixer, Tick
from streaming.ring import FrameRing, Slot


class RingReader:
    """Reads speech frames in the mixer's order and frees their slots.

    The oldest slot stays until the next frame is shown, since a late speech holds its last face.
    """

    def __init__(self, ring: FrameRing | None, mixer: Mixer) -> None:
        self._ring = ring
        self._mixer = mixer
        self._ids: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._seen = 0  # frames in the ring that the mixer knows of

    @property
    def buffered(self) -> int:
        """Frames in the ring."""
        return len(self._ring) if self._ring else 0

    def register(self, number: int, speech: str) -> None:
        """Frames with this number belong to this speech."""
        self._ids[number] = speech
        self._numbers[speech] = number

    def poll(self) -> None:
        """Tells the mixer of the frames that have arrived since the last call."""
        if self._ring is None:
            return
        while (slot := self._ring.peek(self._seen)) is not None:
            self._seen += 1
            speech = self._ids.get(slot.speech)
            if speech is not None:
                self._mixer.available(speech, slot.frame + 1, slot.may_pause)

    def face(self, tick: Tick) -> NDArray[np.uint8]:
        """The face that a tick shows: uint8 [R, R, 3], valid until `release`."""
        assert tick.face is not None
        return self._find(tick, tick.face).face

    def samples(self, tick: Tick) -> NDArray[np.int16]:
        """The samples that a tick plays: int16 [1920], valid until `release`."""
        assert tick.audio is not None
        return self._find(tick, tick.audio).audio

    def release(self, tick: Tick) -> None:
        """Frees the slots that no later tick can show: frames before the one just shown, and speeches that are over."""
        if self._ring is None:
            return
        waiting = set(self._mixer.speeches)
        for number in [n for n, speech in self._ids.items() if speech not in waiting]:
            if self._numbers.get(self._ids[number]) == number:
                del self._numbers[self._ids[number]]
            del self._ids[number]
        while (slot := self._ring.peek()) is not None and self._seen and self._is_done(slot, tick):
            self._ring.release()
            self._seen -= 1

    def _is_done(self, slot: Slot, tick: Tick) -> bool:
        if slot.speech not in self._ids:
            return True
        shown = tick.speech is not None and self._numbers.get(tick.speech) == slot.speech
        return shown and tick.face is not None and slot.frame < tick.face

    def _find(self, tick: Tick, frame: int) -> Slot:
        assert self._ring is not None and tick.speech is not None
        number = self._numbers[tick.speech]
        ahead = 0
        while (slot := self._ring.peek(ahead)) is not None:
            if slot.speech == number and slot.frame == frame:
                return slot
            ahead += 1
        raise LookupError(f"frame {frame} of speech {tick.speech!r} is not in the ring")
