"""When the encoder gave out given frames of the stream, picture and sound, as its output is read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from streaming.packet import Description, Packet, Track

_MOST = 16
_LATEST_S = 20.0
"""Within so much of the stream a frame is seen, or never: it was lost with an encoder, or time began anew."""
_AAC_PACKET_S = 1024 / 48_000
_ROUNDING_S = 0.001
"""Of times that are sums of binary fractions."""


@dataclass(frozen=True)
class EncodedFrame:
    """The first frame of a speech came out of the encoder, at `at` of the watch's clock."""

    speech_id: str
    tick: int
    at: float


@dataclass
class _Expected:
    speech_id: str
    tick: int
    time_s: float
    picture: bool = False
    sound: bool = False


class EncodedWatch:
    """Told of frames by the frame clock's thread and of the encoder's packets by its reader's; neither waits.

    A frame has come out once its picture and the packet with its first sample of sound have.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._expected: deque[_Expected] = deque(maxlen=_MOST)
        self._seen: deque[EncodedFrame] = deque(maxlen=_MOST)

    def expect(self, speech_id: str, tick: int, time_s: float) -> None:
        """Watch for frame `tick`, the first one of a speech, which has the time `time_s` in the encoded stream."""
        with self._lock:
            self._expected.append(_Expected(speech_id, tick, time_s))

    def forget(self, speeches: Collection[str]) -> None:
        """These speeches were cancelled: idle may stand where their first frames would have been."""
        with self._lock:
            self._expected = deque((e for e in self._expected if e.speech_id not in speeches), _MOST)

    def receive(self, message: Description | Packet) -> None:
        """Takes what the encoder gives out; of the sounds AAC is looked at, whose packets are the longer ones."""
        if isinstance(message, Packet):
            if message.track is Track.H264:
                self.picture(message.time_s)
            elif message.track is Track.AAC:
                self.sound(message.time_s)

    def picture(self, time_s: float) -> None:
        """The picture of this time of the stream came out."""
        self._note(lambda e: self._passes(e, time_s), True)

    def sound(self, time_s: float) -> None:
        """The packet of sound that begins at this time of the stream came out."""
        self._note(lambda e: self._passes(e, time_s + _AAC_PACKET_S - _ROUNDING_S), False)

    def take(self) -> list[EncodedFrame]:
        """What has come out since the last call."""
        with self._lock:
            seen, self._seen = list(self._seen), deque(maxlen=_MOST)
        return seen

    @staticmethod
    def _passes(expected: _Expected, time_s: float) -> bool:
        return 0 <= time_s - expected.time_s < _LATEST_S

    def _note(self, passes: Callable[[_Expected], bool], is_picture: bool) -> None:
        if not self._expected:  # nearly always: no lock for each packet
            return
        with self._lock:
            for expected in [e for e in self._expected if passes(e)]:
                if is_picture:
                    expected.picture = True
                else:
                    expected.sound = True
                if expected.picture and expected.sound:
                    self._expected.remove(expected)
                    self._seen.append(EncodedFrame(expected.speech_id, expected.tick, self._clock()))
