"""What a run of `bench talk` does, and what it is held against."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

_INTERRUPTED = 0.4  # of the long answers' turns
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


class Asked(StrEnum):
    """How a turn comes, and what is asked."""

    TIME = "time"
    HELP = "help"
    TYPED = "typed"


SPOKEN = {Asked.TIME: "What time is it?", Asked.HELP: "What can you do?"}
BEGINS = {Asked.TIME: "It is", Asked.HELP: "You can interrupt me"}
"""What the rules' answers to spoken turns begin with."""


@dataclass(frozen=True)
class PlannedTurn:
    """`cut_after_s` seconds into its answer the next turn is spoken; None: the answer is heard to its end."""

    number: int
    asked: Asked
    text: str
    begins: str
    cut_after_s: float | None


@dataclass(frozen=True)
class TalkPlan:
    """So many turns, drawn from a seed; then so many minutes of speaking with bleed.

    `at_once`: recogniser, language model and synthesiser are such that answer at once, and nobody interrupts.
    """

    turns: int = 100
    seed: int = 0
    echo_minutes: float = 10.0
    bleed_db: float = -20.0
    faults: bool = True
    at_once: bool = False


@dataclass(frozen=True)
class Goals:
    """Milliseconds, medians but for the barge-in, which is that of 95 of 100."""

    voice_ms: float
    text_ms: float
    barge_in_ms: float = 300


GOALS_CPU = Goals(voice_ms=1800, text_ms=700)
GOALS_GPU = Goals(voice_ms=800, text_ms=300)


def planned_turns(plan: TalkPlan) -> tuple[PlannedTurn, ...]:
    """The turns of a plan; one that follows a cut is spoken. Where parts answer at once, each second one is typed."""
    if plan.at_once:
        kinds, text, begins = (Asked.TIME, Asked.TYPED), SPOKEN[Asked.TIME], BEGINS[Asked.TIME]
        return tuple(PlannedTurn(number, kinds[number % 2], text, begins, None) for number in range(plan.turns))
    draw = random.Random(plan.seed)
    turns: list[PlannedTurn] = []
    for number in range(plan.turns):
        cuts_in = bool(turns) and turns[-1].cut_after_s is not None
        asked = draw.choice([Asked.TIME, Asked.HELP] if cuts_in else list(Asked))
        if asked is Asked.TYPED:
            begins = f"{' '.join(draw.sample(_NUMBERS, 4))} and {number}."
            text = f"Say {begins}"
        else:
            text, begins = SPOKEN[asked], BEGINS[asked]
        is_cut = asked is Asked.HELP and draw.random() < _INTERRUPTED / 0.6 and number + 1 < plan.turns
        turns.append(PlannedTurn(number, asked, text, begins, draw.uniform(0.5, 4.0) if is_cut else None))
    return tuple(turns)
