"""What a run is to do, and when which fault strikes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import count, cycle

_QUIET_AT_END_S = 90.0
"""The last minute of a run is compared with its second one, and a fault just before would be in it."""
_SERVER_OUTAGES_S = (3.0, 15.0)  # a short one, then one that outlasts every buffer


class FaultKind(StrEnum):
    """What can be broken on purpose, in the order in which a long run goes through it."""

    SERVER_KILLED = "server_killed"
    ENCODER_KILLED = "encoder_killed"
    MODELS_FAIL = "models_fail"
    CHANNEL_KILLED = "channel_killed"
    SERVER_HUNG = "server_hung"
    STORE_LOCKED = "store_locked"
    ENCODER_STOPPED = "encoder_stopped"
    INTERRUPT = "interrupt"
    CHANNEL_STOPPED = "channel_stopped"


_LASTS_S = {
    FaultKind.CHANNEL_KILLED: 0.3,  # until its ffmpegs have ended with it: another process starts after 0.5 s
    FaultKind.CHANNEL_STOPPED: 1.0,  # until what it had encoded has been sent; it is never continued
    FaultKind.SERVER_HUNG: 10.0,
    FaultKind.ENCODER_STOPPED: 3.0,  # less than the publisher waits before it takes an encoder for hung
    FaultKind.STORE_LOCKED: 15.0,
    FaultKind.MODELS_FAIL: 5.0,
}
"""Seconds until a fault is taken back, or nothing follows any more; others are over at once."""
RESTARTING = (FaultKind.CHANNEL_KILLED, FaultKind.CHANNEL_STOPPED)
"""Faults after which another process numbers its frames from zero."""


@dataclass(frozen=True)
class Plan:
    """What is to be run. `rate` is the frames/s that the stand-in for the models makes, for all channels together.

    With `fault_minutes` one fault of each kind after the other strikes, each so many minutes; `server_restarts` and
    `encoder_kills` count for nothing then.
    """

    duration_s: float
    size: tuple[int, int]
    channels: int = 1
    speeches: int = 20
    interrupts: int = 3
    late_chunks: int = 2
    server_restarts: int = 2
    encoder_kills: int = 1
    fault_minutes: float | None = None
    rate: float = 100.0
    mouth_fade_frames: int = 2
    video_bitrate_kbps: int = 2500
    x264_preset: str = "veryfast"


@dataclass(frozen=True)
class PlannedFault:
    """A fault to come: seconds from the beginning of the run, and how long it lasts."""

    at_s: float
    kind: FaultKind
    lasts_s: float


def planned_faults(plan: Plan) -> list[PlannedFault]:
    """The faults of a run in their order; none in its last minute and a half where they come at regular times."""
    outages = cycle(_SERVER_OUTAGES_S)

    def planned(at_s: float, kind: FaultKind) -> PlannedFault:
        lasts_s = next(outages) if kind is FaultKind.SERVER_KILLED else _LASTS_S.get(kind, 0.0)
        return PlannedFault(at_s, kind, lasts_s)

    if plan.fault_minutes is not None:
        kinds, found = cycle(FaultKind), list[PlannedFault]()
        for number in count(1):
            at_s = 60 * plan.fault_minutes * number
            if at_s > plan.duration_s - _QUIET_AT_END_S:
                return found
            found.append(planned(at_s, next(kinds)))
    restarts, kills = plan.server_restarts, plan.encoder_kills
    times = [(((k + 1) / (restarts + 1) - 0.03) * plan.duration_s, FaultKind.SERVER_KILLED) for k in range(restarts)]
    times += [((k + 0.45) / kills * plan.duration_s, FaultKind.ENCODER_KILLED) for k in range(kills)]
    return [planned(at_s, kind) for at_s, kind in sorted(times)]
