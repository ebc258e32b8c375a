"""When the content of a packet was captured, as wall time for RTCP sender reports."""

from __future__ import annotations

_NTP_EPOCH_S = 2_208_988_800  # from 1900 to 1970


class CaptureClock:
    """Maps the stream's time to the time of capture, the same for sound and pictures.

    A receiver plays sound and pictures together by these times. With the times of sending, as aiortc reports them, the
    delays of the two encoders would become an offset between lips and sound.
    """

    def __init__(self, wall_s: float, monotonic_s: float) -> None:
        """The two clocks at one moment: a wall clock that is set meanwhile must not move the sound."""
        self._wall_offset_s = wall_s - monotonic_s
        self._capture_offset_s: float | None = None

    @property
    def known(self) -> bool:
        """False before the first picture."""
        return self._capture_offset_s is not None

    def note(self, time_s: float, captured_s: float) -> None:
        """A picture of the stream's time `time_s` was captured at `captured_s` of the monotonic clock."""
        self._capture_offset_s = captured_s - time_s

    def ntp(self, time_s: float) -> int:
        """The time of capture as a 64-bit NTP timestamp (RFC 3550, section 4)."""
        assert self._capture_offset_s is not None
        seconds = time_s + self._capture_offset_s + self._wall_offset_s + _NTP_EPOCH_S
        return int(seconds * (1 << 32)) & 0xFFFF_FFFF_FFFF_FFFF
