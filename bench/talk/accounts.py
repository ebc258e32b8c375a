"""Whether a turn was lost, doubled or mixed with another one, by what the client was told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.talk.client import Told
from bench.talk.plan import PlannedTurn


@dataclass(frozen=True)
class Accounts:
    """Turns that were lost (no transcript, or no end), doubled, or answered by what belongs to another one.

    `mixed_up` says of the latter what was told. `sentences` and `heard` are the answers' words by the server's number
    of the turn, which `numbers` has in order.
    """

    lost: int
    doubled: int
    mixed_up: tuple[str, ...]
    numbers: tuple[int, ...]
    sentences: dict[int, str]
    heard: dict[int, str]

    @property
    def mixed(self) -> int:
        """How many belong to another turn."""
        return len(self.mixed_up)


def accounts_of(told: Sequence[Told], planned: Sequence[PlannedTurn]) -> Accounts:
    """Of all messages of a conversation in which these turns were taken."""
    messages = [each.message for each in told]
    numbers = [message["turn"] for message in messages if message["type"] == "transcript" and message["final"]]
    ends = Counter(message["turn"] for message in messages if message["type"] == "heard")
    sentences: dict[int, str] = {}
    for message in messages:
        if message["type"] == "sentence":
            sentences[message["turn"]] = f"{sentences.get(message['turn'], '')} {message['text']}".strip()
    heard = {message["turn"]: message["text"] for message in messages if message["type"] == "heard"}
    distinct = list(dict.fromkeys(numbers))
    mixed_up = tuple(
        f"turn {turn.number}, {turn.text!r}: said {sentences.get(number, '')!r}, heard {heard.get(number, '')!r}"
        for number, turn in zip(distinct, planned, strict=False)
        if not words_of(sentences.get(number, "")).startswith(words_of(turn.begins))
        or not words_of(sentences.get(number, "")).startswith(words_of(heard.get(number, "")))
    )
    return Accounts(
        lost=max(0, len(planned) - len(distinct)) + sum(ends[number] == 0 for number in distinct),
        doubled=len(numbers) - len(distinct) + max(0, len(distinct) - len(planned)) + sum(n > 1 for n in ends.values()),
        mixed_up=mixed_up,
        numbers=tuple(distinct),
        sentences=sentences,
        heard=heard,
    )


def words_of(text: str) -> str:
    """Its words, in small letters, with one space between."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))
