"""The record of `bench talk`, and the goals that it is held against."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.machine import Machine
from bench.speech_latency.findings import Spread
from bench.stream.criteria import Criterion
from bench.talk.faults import FaultFound
from bench.talk.findings import TurnFindings
from bench.talk.plan import GOALS_CPU, GOALS_GPU, Goals, TalkPlan

_LATE = ("late_frames", "late_waits", "dropped_pairs")
_MOST_GROWTH = 1.05
_WITHIN_A_WORD = 0.95


@dataclass(frozen=True)
class EchoFindings:
    """Speaking with bleed, of which `played_s` reached the microphone: how often it was taken for a person's voice."""

    minutes: float
    bleed_db: float
    played_s: float
    interrupted: int
    turns_of_its_own: int


@dataclass(frozen=True)
class TalkRecord:
    """What was found. `counters` are the channel's over the turns; `memory_growth` is by role, its last over its first.

    `load_average` is that of the machine at the end of the turns.
    """

    date: str
    machine: Machine
    checkpoint: str
    plan: TalkPlan
    turns: TurnFindings
    counters: dict[str, int]
    memory_growth: dict[str, float]
    load_average: float
    echo: EchoFindings | None
    faults: list[FaultFound]
    criteria: list[Criterion]

    @property
    def kept(self) -> bool:
        """Whether every goal was reached."""
        return all(criterion.kept for criterion in self.criteria)

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=2)


def criteria(
    plan: TalkPlan,
    machine: Machine,
    turns: TurnFindings,
    counters: dict[str, int],
    memory_growth: dict[str, float],
    echo: EchoFindings | None,
    faults: Sequence[FaultFound],
) -> list[Criterion]:
    """Each goal of such a machine, and whether it was reached; of what isn't in the plan there is none."""
    goals = GOALS_GPU if machine.gpus else GOALS_CPU
    return [
        *_turn_criteria(turns, goals),
        _none("late_frames", sum(counters[counter] for counter in _LATE)),
        *(
            Criterion(f"memory_growth_{role}", growth, f"<= {_MOST_GROWTH}", growth <= _MOST_GROWTH)
            for role, growth in memory_growth.items()
        ),
        *(_echo_criteria(plan, echo) if plan.echo_minutes else ()),
        *(
            Criterion(f"fault_{found.fault}", float(found.kept), "told, and the next turn works", found.kept)
            for found in faults
        ),
    ]


def _turn_criteria(found: TurnFindings, goals: Goals) -> Iterator[Criterion]:
    yield _most("voice_to_voice_ms", found.voice_to_voice, found.voice_to_voice.p50, goals.voice_ms)
    if found.text_to_sound.count:
        yield _most("text_to_sound_ms", found.text_to_sound, found.text_to_sound.p50, goals.text_ms)
    for name in ("lost", "doubled", "mixed"):
        yield _none(f"turns_{name}", getattr(found, name))
    if found.interrupted:
        yield _most("barge_in_p95_ms", found.barge_in, found.barge_in.p95, goals.barge_in_ms)
        near = sum(count for off, count in found.words_off.items() if int(off) <= 1)
        share = round(near / max(1, sum(found.words_off.values())), 3)
        yield Criterion("heard_within_a_word", share, f">= {_WITHIN_A_WORD}", share >= _WITHIN_A_WORD)


def _echo_criteria(plan: TalkPlan, found: EchoFindings | None) -> Iterator[Criterion]:
    lasted = 0.0 if found is None else found.minutes
    yield Criterion("echo_minutes", lasted, f">= {plan.echo_minutes:g}", lasted >= plan.echo_minutes)
    if found is None:
        return
    yield _none("self_interruptions", found.interrupted)
    yield _none("turns_of_the_echo", found.turns_of_its_own)
    yield Criterion("bleed_played_s", found.played_s, "> 0", found.played_s > 0)


def _most(name: str, spread: Spread, value: float | None, limit_ms: float) -> Criterion:
    return Criterion(name, value, f"<= {limit_ms:g}", bool(spread.count) and value is not None and value <= limit_ms)


def _none(name: str, count: int) -> Criterion:
    return Criterion(name, count, "0", count == 0)
