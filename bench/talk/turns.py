"""Turns that are taken one after another, with interrupts where the plan has them; and what they came to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.talk.client import Spoken, TalkClient, TurnLost
from bench.talk.plan import SPOKEN, Asked, PlannedTurn

_BREATH_S = 0.5
_ANSWER_S = 60.0


@dataclass
class TakenTurn:
    """What a turn came to, all times by the monotonic clock.

    `asked_s` is that of the last sample, or of the typed text; `encoded_s` that of the first frame of the answer's
    sound at the encoder; `cut_s` that of the first sample of the voice that interrupted it.
    """

    planned: PlannedTurn
    asked_s: float
    encoded_s: float | None = None
    cut_s: float | None = None
    over_s: float | None = None
    problem: str = ""

    @property
    def is_spoken(self) -> bool:
        """Whether it was a voice."""
        return self.planned.asked in SPOKEN


class TurnTaker:
    """Takes the turns of a plan in a conversation."""

    def __init__(self, client: TalkClient, voices: Mapping[Asked, NDArray[np.int16]]) -> None:
        self._client = client
        self._voices = voices

    async def take_all(self, turns: Sequence[PlannedTurn], report: Callable[[str], None]) -> list[TakenTurn]:
        """Each turn, and what it came to; one whose answer doesn't come is noted, and the next one is taken.

        Those that follow the end of the conversation are missing.
        """
        taken: list[TakenTurn] = []
        for planned in turns:
            before = taken[-1] if taken and taken[-1].planned.cut_after_s is not None else None
            turn = await self._take(planned, before)
            taken.append(turn)
            waited_ms = None if turn.encoded_s is None else round(1000 * (turn.encoded_s - turn.asked_s))
            what = turn.problem or f"first sound after {waited_ms} ms"
            report(f"turn {planned.number + 1} of {len(turns)} ({planned.asked}): {what}")
            if self._client.ended:
                break
        return taken

    async def _take(self, planned: PlannedTurn, before: TakenTurn | None) -> TakenTurn:
        client = self._client
        since = len(client.told)
        turn = TakenTurn(planned, time.monotonic())
        try:
            if planned.asked is Asked.TYPED:
                turn.asked_s = await client.type(planned.text)
            else:
                spoken: Spoken = await client.speak(self._voices[planned.asked])
                turn.asked_s = spoken.ended_s
                if before is not None:
                    before.cut_s = spoken.began_s
            final = await client.until(since, "transcript", _ANSWER_S, final=True)
            number = final.message["turn"]
            await client.until(since, "ledger", _ANSWER_S, turn=number)
            turn.encoded_s = _encoded_s(await client.newest_task())
            if before is not None:
                before.over_s = turn.encoded_s
            if planned.cut_after_s is not None:
                await asyncio.sleep(planned.cut_after_s)
                return turn
            turn.over_s = (await client.until(since, "heard", _ANSWER_S, turn=number)).at_s
        except TurnLost as error:
            turn.problem = str(error)
        await asyncio.sleep(_BREATH_S)
        return turn


def _encoded_s(task: dict[str, Any] | None) -> float | None:
    if task is None or "encoded" not in task["timings_s"]:
        return None
    created_at = datetime.fromisoformat(str(task["created_at"])).timestamp()
    return float(created_at + task["timings_s"]["encoded"]) - (time.time() - time.monotonic())
