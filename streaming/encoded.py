"""When the encoder gave out given frames of the stream, picture and sound, as its output is read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from streaming.packet import Description, Packet, Track

_MOST = 16
_LATEST_S = 20.0
"""Within so much of the stream a frame is seen, or never: it was lost with an encoder, or time began anew."""
_PACKET_S = {Track.AAC: 1024 / 48_000, Track.OPUS: 0.02}
_ROUNDING_S = 0.001
"""Of times that are sums of binary fractions."""


@dataclass(frozen=True)
class EncodedFrame:
    """The first frame of a speech came out of the encoder, at `at` of the watch's clock; with Opus at `opus_at`."""

    speech_id: str
    tick: int
    at: float
    opus_at: float


@dataclass
class _Expected:
    speech_id: str
    tick: int
    time_s: float
    out: dict[Track, float] = field(default_factory=dict)
    """When what belongs to the frame came out."""


class EncodedWatch:
    """Told of frames by the frame clock's thread and of the encoder's packets by its reader's; neither waits.

    A frame has come out once its picture and the packets with its first sample of sound have. Opus comes with the
    picture, and AAC a frame later: its encoder needs sound that follows.
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
        """Takes what the encoder gives out."""
        if isinstance(message, Packet):
            self.came(message.track, message.time_s)

    def came(self, track: Track, time_s: float) -> None:
        """The picture of this time of the stream came out, or the packet of sound that begins then."""
        if not self._expected:  # nearly always: no lock for each packet
            return
        end_s = time_s + _PACKET_S[track] - _ROUNDING_S if track in _PACKET_S else time_s
        with self._lock:
            for expected in [e for e in self._expected if self._passes(e, end_s)]:
                if track not in expected.out:
                    expected.out[track] = self._clock()
                if len(expected.out) == len(Track):
                    self._expected.remove(expected)
                    opus_at = max(expected.out[Track.H264], expected.out[Track.OPUS])
                    at = max(expected.out.values())
                    self._seen.append(EncodedFrame(expected.speech_id, expected.tick, at, opus_at))

    def take(self) -> list[EncodedFrame]:
        """What has come out since the last call."""
        with self._lock:
            seen, self._seen = list(self._seen), deque(maxlen=_MOST)
        return seen

    @staticmethod
    def _passes(expected: _Expected, time_s: float) -> bool:
        return 0 <= time_s - expected.time_s < _LATEST_S
