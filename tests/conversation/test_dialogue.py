"""A dialogue with its real parts: a question that was recorded, its words, the answer, and what cuts it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from conversation.activity.silero import SileroVad
from conversation.asked_process import Patience
from conversation.dialogue import Dialogue, Parts
from conversation.message import Message, Role
from conversation.recognition.recogniser import Recogniser
from conversation.recognition.whisper import LocalWhisper
from conversation.response.openai import ChatProvider, OpenAiResponder
from conversation.response.responder import Responder, ToolCall
from conversation.response.rules import RuleResponder
from conversation.turn.actions import Action, TellFault, TellHeard, TellState, TellTranscript
from conversation.turn.state import TurnRules, TurnState
from tests.support.chat_provider import ChatExchange
from tests.support.chat_provider import ChatProvider as Server
from tests.support.human_voice import said, silence
from tests.support.timed_mouth import TimedMouth

NOON = datetime(2026, 3, 4, 12, 5)
BLOCK = 320


class Talk:
    """A dialogue that runs, what it told, and who says its sentences."""

    def __init__(self, recogniser: Recogniser, responder: Responder) -> None:
        clock = asyncio.get_running_loop().time
        self.mouth = TimedMouth(clock)
        self.told: list[Action | ToolCall] = []
        parts = Parts(SileroVad(), recogniser, responder, self.mouth)
        self.dialogue = Dialogue(parts, TurnRules(), self.told.append, clock)
        self.mouth.dialogue = self.dialogue

    async def hear(self, sound: NDArray[np.int16]) -> None:
        """The sound as a microphone gives it: in its own time."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for first in range(0, len(sound), BLOCK):
            await self.dialogue.hear(sound[first : first + BLOCK])
            await asyncio.sleep(began_s + (first + BLOCK) / 16_000 - loop.time())

    async def until(self, is_so: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not is_so():
                await asyncio.sleep(0.01)

    @property
    def is_listening(self) -> bool:
        return bool(self.told) and self.dialogue.machine.state is TurnState.LISTENING

    def texts(self, kind: type[TellTranscript] | type[TellHeard]) -> list[str]:
        told = [each for each in self.told if isinstance(each, kind)]
        return [each.text for each in told if not isinstance(each, TellTranscript) or each.final]


@asynccontextmanager
async def talking(recogniser: Recogniser, responder: Responder) -> AsyncIterator[Talk]:
    talk = Talk(recogniser, responder)
    async with AsyncExitStack() as stack:
        for work in (recogniser.run(), responder.run(), talk.dialogue.run()):
            task = asyncio.create_task(work)
            stack.push_async_callback(_ended, task)
        yield talk


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


async def test_recorded_question_is_answered_and_the_answer_interrupted() -> None:
    whisper = LocalWhisper(patience=Patience(wait_s=100.0, start_s=100.0, answer_s=60.0))
    async with talking(whisper, RuleResponder(lambda: NOON)) as talk:
        await whisper.recognise(silence(0.5), "en")
        await talk.hear(np.concatenate([silence(0.5), said("What can you do?"), silence(1.0)]))
        await talk.until(lambda: talk.dialogue.machine.state is TurnState.SPEAKING)
        assert words(talk.texts(TellTranscript)[0]) == ["what", "can", "you", "do"]
        assert talk.mouth.said[0].startswith("You can interrupt me")
        await talk.hear(np.concatenate([said("What time is it?"), silence(1.0)]))
        await talk.until(lambda: len(talk.mouth.said) > 2 and talk.is_listening)
        assert talk.mouth.cut == [1] and talk.mouth.said[-1] == "It is 12:05 on this server."
        first, second = talk.texts(TellHeard)
        assert second == "It is 12:05 on this server."
        whole = " ".join(talk.mouth.said[:2])
        assert whole.startswith(first) and len(first) < len(whole)
        roles = [message.role for message in talk.dialogue.machine.history]
        assert roles in ([Role.PERSON, Role.AVATAR] * 2, [Role.PERSON, Role.PERSON, Role.AVATAR])
        assert not any(isinstance(each, TellFault) for each in talk.told)


class Unasked:
    """A recogniser for dialogues that are typed."""

    async def recognise(self, sound: NDArray[np.int16], language: str) -> str:
        raise AssertionError("nobody speaks")

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()


async def good(exchange: ChatExchange) -> None:
    await exchange.stream()
    await exchange.delta(content="Noon.")
    await exchange.done()


async def broken_off(exchange: ChatExchange) -> None:
    await exchange.stream()
    await exchange.delta(content="It is noon. And")


async def busy(exchange: ChatExchange) -> None:
    await exchange.whole(429, "{}")


async def slow(exchange: ChatExchange) -> None:
    await asyncio.sleep(30)


@pytest.mark.parametrize(
    ("fault", "code", "heard"),
    [
        (broken_off, "answer_broken_off", "It is noon. And"),
        (busy, "responder_busy", ""),
        (slow, "responder_unavailable", ""),
    ],
)
async def test_fault_of_the_provider_is_told_and_the_next_turn_works(fault: object, code: str, heard: str) -> None:
    async with Server(fault).running() as server:  # type: ignore[arg-type]
        first_s = 3.0 if fault is slow else 30.0  # the answer behind it has so long too
        responder = OpenAiResponder(ChatProvider(server.url, "m", first_s=first_s))
        async with talking(Unasked(), responder) as talk:
            await talk.dialogue.type("What time is it?")
            await talk.until(lambda: talk.is_listening and talk.texts(TellHeard))
            assert [each.code for each in talk.told if isinstance(each, TellFault)] == [code]
            assert talk.texts(TellHeard) == [heard]
            server.answer = good
            await talk.dialogue.type("And now?")
            await talk.until(lambda: len(talk.texts(TellHeard)) == 2)
            assert talk.texts(TellHeard)[1] == "Noon."
            assert talk.dialogue.machine.history[-1] == Message(Role.AVATAR, "Noon.")


async def test_tap_closes_the_connection_to_the_provider() -> None:
    async def endless(exchange: ChatExchange) -> None:
        await exchange.stream()
        while True:
            await exchange.delta(content="On and on. ")
            await asyncio.sleep(0.05)

    async with Server(endless).running() as server:
        responder = OpenAiResponder(ChatProvider(server.url, "m"))
        async with talking(Unasked(), responder) as talk:
            await talk.dialogue.type("Go on.")
            await talk.until(lambda: talk.mouth.said)
            await talk.dialogue.tap()
            await talk.until(lambda: talk.is_listening and server.left)
            assert talk.mouth.cut == [1]
            assert [each.state for each in talk.told if isinstance(each, TellState)][-1] is TurnState.LISTENING
