"""What a process for WebRTC tells its parent each second."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ViewerCounts:
    """What all viewers of a channel together count; sums are since the process began, those who have left included."""

    viewers: int = 0
    pending: int = 0
    bytes_sent: int = 0
    packets_sent: int = 0
    packets_resent: int = 0
    keyframe_requests: int = 0
    worst_fraction_lost: float = 0.0
    worst_rtt_s: float = 0.0
