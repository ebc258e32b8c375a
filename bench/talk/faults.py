"""What a person meets where the language model fails: what is told, and whether the next turn works."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bench.talk.client import TalkClient, TurnLost
from bench.talk.provider import GOOD_ANSWER, Fault, FaultyProvider

_ANSWER_S = 60.0
# Faults after which there is nothing wrong to tell: the answer comes late, or the voice can't say it.
_TELLS_NOTHING = (Fault.SLOW, Fault.EMPTY, Fault.OTHER_LANGUAGE)


@dataclass(frozen=True)
class FaultFound:
    """The codes and states that were told of one fault, and whether the next turn was answered well."""

    fault: Fault
    told: tuple[str, ...]
    states: tuple[str, ...]
    next_turn_works: bool

    @property
    def kept(self) -> bool:
        """Whether the person could see what is the matter, and go on."""
        return self.next_turn_works and "thinking" in self.states and bool(self.told or self.fault in _TELLS_NOTHING)


async def meet(client: TalkClient, provider: FaultyProvider, fault: Fault) -> FaultFound:
    """One turn with the fault, ended by the person where the answer has no end, and a good one."""
    since = len(client.told)
    provider.fault = fault
    await client.type(f"What is {fault}?")
    works = False
    try:
        if fault is Fault.ENDLESS:
            await client.until(since, "error", _ANSWER_S)
            await client.interrupt()
        await client.until(since, "heard", _ANSWER_S)
        await asyncio.sleep(0.5)
        between = len(client.told)
        provider.fault = None
        await client.type("And now?")
        works = (await client.until(between, "heard", _ANSWER_S)).message["text"] == GOOD_ANSWER
        await asyncio.sleep(0.5)
    except TurnLost:
        provider.fault = None
    messages = [told.message for told in client.told[since:]]
    return FaultFound(
        fault,
        tuple(message["code"] for message in messages if message["type"] == "error"),
        tuple(dict.fromkeys(message["state"] for message in messages if message["type"] == "state")),
        works,
    )
