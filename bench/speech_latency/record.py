"""The record of `bench speech-latency`, and the goals that it is held against."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from bench.machine import Machine
from bench.speech_latency.findings import FirstSounds, Microphones, Spread
from bench.speech_latency.plan import GOALS_CPU, GOALS_GPU, Goals, LatencyPlan, Way
from bench.stream.criteria import Criterion

_LATE = ("late_frames", "late_waits", "dropped_pairs")


@dataclass(frozen=True)
class LatencyRecord:
    """What was found: first sounds by way, then microphones on one channel and on several at once.

    `path_to_viewer_ms` lies between a frame at the encoder and the same frame at the viewer. `live` are the settings of
    live speech that differ from those as shipped, `emulated_like` the record whose GPU's times the models took.
    """

    date: str
    machine: Machine
    checkpoint: str
    plan: LatencyPlan
    live: dict[str, str]
    first_sounds: list[FirstSounds]
    path_to_viewer_ms: float
    microphones: list[Microphones]
    criteria: list[Criterion]
    emulated_like: str | None = None

    @property
    def kept(self) -> bool:
        """Whether every goal was reached."""
        return all(criterion.kept for criterion in self.criteria)

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=2)


def criteria(on_gpu: bool, first: list[FirstSounds], paced: list[Microphones]) -> list[Criterion]:
    """Each goal of a machine with or without GPUs, and whether it was reached."""
    goals = GOALS_GPU if on_gpu else GOALS_CPU
    return [*_first_sound_criteria(first, goals), *(each for found in paced for each in _paced_criteria(found, goals))]


def _first_sound_criteria(found: list[FirstSounds], goals: Goals) -> Iterator[Criterion]:
    limits = {Way.UPLOAD: goals.upload_ms, Way.SOCKET: goals.socket_ms}
    for each in found:
        yield _median(f"first_sound_of_{each.way}_ms", each.at_encoder, limits[Way(each.way)])
        yield Criterion(f"unheard_of_{each.way}", each.unheard, "0", each.unheard == 0)
        yield _on_time(f"late_frames_of_{each.way}", each.counters)


def _paced_criteria(found: Microphones, goals: Goals) -> Iterator[Criterion]:
    of = f"of_{found.channels}_microphone{'s' if found.channels > 1 else ''}"
    yield _median(f"sample_to_frame_{of}_ms", found.sample_to_frame, goals.microphone_ms)
    yield Criterion(f"unheard_marks_{of}", found.unheard, "0", found.unheard == 0)
    yield _on_time(f"late_frames_{of}", found.counters)
    drifts = [abs(drift) for drift in found.drift_ms.values() if drift is not None]
    worst = max(drifts, default=None)
    yield Criterion(f"drift_{of}_ms", worst, f"≤ {goals.drift_ms:g}", worst is not None and worst <= goals.drift_ms)


def _median(name: str, spread: Spread, limit_ms: float) -> Criterion:
    return Criterion(name, spread.p50, f"≤ {limit_ms:g}", spread.p50 is not None and spread.p50 <= limit_ms)


def _on_time(name: str, counters: dict[str, int]) -> Criterion:
    late = sum(counters[counter] for counter in _LATE)
    return Criterion(name, late, "0", late == 0)
