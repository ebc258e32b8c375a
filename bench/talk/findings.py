"""What is to say of the turns that were taken, by the server's stamps and by what a viewer heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.speech_latency.findings import Spread
from bench.talk.accounts import Accounts
from bench.talk.client import Told
from bench.talk.received import Received, words_heard
from bench.talk.turns import TakenTurn
from conversation.recognition.recogniser import Recogniser

_AROUND_S = 0.3  # that a sound may come sooner or later at a viewer than the median path lets expect


@dataclass(frozen=True)
class TurnFindings:
    """Times in ms. `voice_to_voice` counts from the last sample of a spoken turn, `text_to_sound` from a typed text.

    `barge_in` is how long after the first sample of an interrupting voice the last sound of the answer left the
    encoder. `words_off` are words between what the history says was heard, and what of the answer is recognised in the
    received stream, in those turns. `steps_ms` are medians of the server's own ledger.
    """

    taken: int
    interrupted: int
    lost: int
    doubled: int
    mixed: int
    problems: tuple[str, ...]
    voice_to_voice: Spread
    text_to_sound: Spread
    barge_in: Spread
    words_off: dict[str, int]
    path_to_viewer_ms: float
    steps_ms: dict[str, float]


async def turn_findings(
    taken: Sequence[TakenTurn],
    accounts: Accounts,
    told: Sequence[Told],
    received: Received,
    recogniser: Recogniser,
) -> TurnFindings:
    """Of turns that were taken while a viewer received the stream."""
    path_s = _path_s(taken, received)
    cut = [turn for turn in taken if turn.cut_s is not None and turn.encoded_s is not None and turn.over_s is not None]
    barge_in: list[float] = []
    words_off: dict[str, int] = {}
    numbers: Mapping[int, int] = dict(zip((turn.planned.number for turn in taken), accounts.numbers, strict=False))
    for turn in cut:
        assert turn.cut_s is not None and turn.encoded_s is not None and turn.over_s is not None
        began_s, until_s = turn.encoded_s + path_s - 0.1, turn.over_s + path_s - 0.1
        last_s = received.last_loud_s(began_s, until_s)
        if last_s is None:
            continue
        barge_in.append(max(0.0, last_s - path_s - turn.cut_s))
        number = numbers.get(turn.planned.number)
        if number is not None:
            said = await recogniser.recognise(received.between(began_s, last_s + 0.3), "en")
            heard = len(accounts.heard.get(number, "").split())
            off = abs(words_heard(said, accounts.sentences.get(number, "")) - heard)
            words_off[str(off)] = words_off.get(str(off), 0) + 1
    return TurnFindings(
        taken=len(taken),
        interrupted=len(cut),
        lost=accounts.lost,
        doubled=accounts.doubled,
        mixed=accounts.mixed,
        problems=(*(turn.problem for turn in taken if turn.problem), *accounts.mixed_up),
        voice_to_voice=_spread(turn for turn in taken if turn.is_spoken),
        text_to_sound=_spread(turn for turn in taken if not turn.is_spoken),
        barge_in=Spread.of(barge_in),
        words_off=dict(sorted(words_off.items(), key=lambda each: int(each[0]))),
        path_to_viewer_ms=round(1000 * path_s, 1),
        steps_ms=_steps(told),
    )


def _spread(turns: object) -> Spread:
    return Spread.of(turn.encoded_s - turn.asked_s for turn in turns if turn.encoded_s is not None)  # type: ignore[attr-defined]


def _path_s(taken: Sequence[TakenTurn], received: Received) -> float:
    """The median time from the encoder to the viewer."""
    paths = []
    for turn in taken:
        if turn.encoded_s is not None:
            first_s = received.first_loud_s(turn.encoded_s - 0.05, turn.encoded_s + 2.0)
            if first_s is not None:
                paths.append(first_s - turn.encoded_s)
    return float(np.median(paths)) if paths else 0.0


def _steps(told: Sequence[Told]) -> dict[str, float]:
    rows: dict[str, list[float]] = {}
    for each in told:
        if each.message["type"] == "ledger":
            for stage, taken_ms in each.message["stages"].items():
                rows.setdefault(stage, []).append(float(taken_ms))
    return {stage: round(float(np.median(values)), 1) for stage, values in rows.items()}
