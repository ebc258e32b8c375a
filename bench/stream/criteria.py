"""The promises of a stream, and whether a run kept them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.stream.findings import ChannelFindings, ordered
from bench.stream.plan import RESTARTING, FaultKind, Plan, planned_faults

if TYPE_CHECKING:
    from bench.stream.scenario import Run

_ON_AIR_AFTER_S = {
    FaultKind.SERVER_KILLED: 3.0,
    FaultKind.SERVER_HUNG: 3.0,
    FaultKind.ENCODER_KILLED: 3.0,
    FaultKind.ENCODER_STOPPED: 3.0,
    FaultKind.CHANNEL_KILLED: 6.0,  # half a second until another one is started, which loads its modules and avatar
    FaultKind.CHANNEL_STOPPED: 16.0,  # a process that hangs is killed after 10 s
}
"""Seconds from the end of a fault to the first picture at a viewer; kinds that are not here may cause no gap at all."""


@dataclass(frozen=True)
class Criterion:
    """One promise: what was measured, what is allowed, and whether it is kept."""

    name: str
    measured: float | list[float] | None
    allowed: str
    kept: bool


def stream_criteria(run: Run, channels: list[ChannelFindings]) -> list[Criterion]:
    """What is promised of the stream and its speeches, whatever breaks."""

    def total(name: str) -> Criterion:
        values = [getattr(channel, name) for channel in channels]
        count = sum(value if isinstance(value, int) else len(value) for value in values)
        return Criterion(name, count, "0", count == 0)

    names = (
        "frames_missing_outside_outages",
        "frames_repeated_or_out_of_order",
        "timestamps_not_monotonic",
        "timestamps_off_the_frame_clock",
        "speeches_wrong",
        "waits_unexplained",
        "fades_wrong",
        "sound_without_lips_frames",
    )
    offset = max(max(abs(c.av_offset_ms.get("min", 99)), abs(c.av_offset_ms.get("max", 99))) for c in channels)
    drift = max(abs(channel.av_drift_ms_per_min) for channel in channels)
    idle = [value for channel in channels for value in channel.idle_after_interrupt_ms]
    out_of_order = sum(
        channel.speeches_in_order
        != [said.number for said in ordered(run.said, number) if said.number not in channel.speeches_hidden_by_outages]
        for number, channel in enumerate(channels)
    )
    accepted = sum(said.state in ("done", "cancelled") for said in run.said)
    late_wanted, late_seen = sum(said.late for said in run.said), sum(channel.late_waits_seen for channel in channels)
    return [
        *map(total, names),
        Criterion("av_offset_ms", offset, "<= 20", offset <= 20),
        Criterion("av_drift_ms_per_min", drift, "<= 0.1 over 10 minutes", drift <= 0.1 or run.plan.duration_s < 300),
        Criterion("idle_after_interrupt_ms", idle, "<= 300", all(value <= 300 for value in idle)),
        Criterion("channels_with_speeches_out_of_order", out_of_order, "0", out_of_order == 0),
        Criterion("tasks_played", accepted, str(run.plan.speeches), accepted == run.plan.speeches),
        Criterion("late_chunks_waited_for", late_seen, str(late_wanted), late_seen == late_wanted),
        Criterion("requests_failed", len(run.request_failures), "0", not run.request_failures),
    ]


def fault_criteria(run: Run, channels: list[ChannelFindings]) -> list[Criterion]:
    """What is promised of each kind of fault that struck: for how long nothing is seen, and that no speech is lost."""
    planned, made = len(planned_faults(run.plan)), len(run.faults)
    states = {said.number: said.state for said in run.said}
    restarts = sum(status["restarts"] for status in run.statuses)
    wanted = sum(fault.kind in RESTARTING for fault in run.faults)
    found = [
        Criterion("faults_made", made, str(planned), made == planned),
        Criterion("channel_restarts", restarts, str(wanted), restarts == wanted),
    ]
    for kind in dict.fromkeys(FaultKind(fault.kind) for fault in run.faults):
        back = [outage.on_air_after_s for each in channels for outage in each.outages if outage.fault == kind]
        most = _ON_AIR_AFTER_S.get(kind)
        allowed = "no gap" if most is None else f"<= {most:g}"
        kept = not back if most is None else all(value <= most for value in back)
        found.append(Criterion(f"on_air_after_{kind}_s", back, allowed, kept))
        struck = [fault.speech for fault in run.faults if fault.kind == kind and fault.speech is not None]
        lost = sum(states.get(number) not in ("done", "cancelled") for number in struck)
        found.append(Criterion(f"speeches_lost_by_{kind}", lost, "0", lost == 0))
    return found


def load_criteria(
    plan: Plan, memory: dict[str, dict[str, float]], handles: dict[str, dict[str, float]], cores: dict[str, float]
) -> list[Criterion]:
    """What a channel may take of the machine, and that it takes no more at the end than at the beginning."""
    used = round(sum(value for role, value in cores.items() if role != "orchestrator") / plan.channels, 3)
    found = [Criterion("cores_per_channel", used, "<= 1.0", used <= 1.0)]
    for role, values in memory.items():
        ratio = round(values["last_minute"] / values["second_minute"], 4)
        found.append(Criterion(f"memory_growth_{role}", ratio, "<= 1.05", ratio <= 1.05))
    for role, values in handles.items():
        # Files may become fewer, as when a connection of the measuring client ends; a thread that is gone has died.
        more_files = max(0.0, values["files_last"] - values["files_second"])
        change = more_files + abs(values["threads_last"] - values["threads_second"])
        found.append(Criterion(f"files_and_threads_change_{role}", change, "0", change == 0))
    return found
