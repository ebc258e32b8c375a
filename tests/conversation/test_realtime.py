"""A speech-to-speech model over a real socket, by a server that keeps the protocol's rules: turns, barge-in, faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import numpy as np
import pytest
from numpy.typing import NDArray

from conversation.message import Message, Role
from conversation.realtime.connection import RealtimeProvider
from conversation.realtime.dialogue import RealtimeDialogue, RealtimeParts
from conversation.realtime.messages import Wish
from conversation.response.responder import ToolCall
from conversation.turn.actions import Action, Commit, TellFault, TellHeard, TellSentence, TellState, TellTranscript
from conversation.turn.state import TurnRules, TurnState
from tests.support.realtime_server import RealtimeServer
from tests.support.timed_sound_mouth import TimedSoundMouth

BLOCK = 320
TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}


class Loud:
    """Whatever is loud is a voice."""

    def probability(self, frame: NDArray[np.int16]) -> float:
        return float(np.abs(frame).max() > 1000)

    def reset(self) -> None: ...


def tone(seconds: float) -> NDArray[np.int16]:
    wave: NDArray[np.float64] = 6000 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * 16_000)) / 16_000)
    return wave.astype(np.int16)


def silence(seconds: float) -> NDArray[np.int16]:
    return np.zeros(round(seconds * 16_000), np.int16)


class Talk:
    def __init__(self, url: str, history: tuple[Message, ...] = ()) -> None:
        clock = asyncio.get_running_loop().time
        self.told: list[Action | ToolCall] = []
        self.mouth = TimedSoundMouth(clock)
        parts = RealtimeParts(Loud(), RealtimeProvider(url, "a-model", "secret-key"), self.mouth)
        wish = Wish(prompt="Be brief.", language="en-US", tools=(TOOL,))
        self.dialogue = RealtimeDialogue(parts, TurnRules(), wish, self.told.append, clock, history)
        self.mouth.dialogue = self.dialogue

    async def hear(self, *sounds: NDArray[np.int16]) -> None:
        loop, heard = asyncio.get_running_loop(), np.concatenate(sounds)
        began_s = loop.time()
        for first in range(0, len(heard), BLOCK):
            await self.dialogue.hear(heard[first : first + BLOCK])
            await asyncio.sleep(began_s + (first + BLOCK) / 16_000 - loop.time())

    async def until(self, is_so: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not is_so():
                await asyncio.sleep(0.005)

    async def answered(self, turns: int) -> None:
        await self.until(lambda: len(self.heard) >= turns and self.dialogue.machine.state is TurnState.LISTENING)

    @property
    def heard(self) -> list[str]:
        return [each.text for each in self.told if isinstance(each, TellHeard)]

    @property
    def faults(self) -> list[str]:
        return [each.code for each in self.told if isinstance(each, TellFault)]


@asynccontextmanager
async def talking(server: RealtimeServer, history: tuple[Message, ...] = ()) -> AsyncIterator[Talk]:
    async with server.running():
        talk = Talk(server.url, history)
        work = asyncio.create_task(talk.dialogue.run())
        try:
            if server.status is None:
                await talk.until(lambda: server.of_type("session.update"))
            yield talk
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work


async def test_spoken_question_is_sent_whole_and_its_answer_played_and_told() -> None:
    server = RealtimeServer()
    async with talking(server) as talk:
        await talk.hear(silence(0.5), tone(0.8), silence(0.7))
        await talk.answered(1)
    (sound,) = server.committed
    assert 1.4 < len(sound) / 24_000 < 2.0, "from a little before the voice to the pause that ended the turn"
    assert 0.75 < np.count_nonzero(np.abs(sound) > 1000) / 24_000 / 0.89 < 0.95, "nothing of it is missing or doubled"
    assert talk.heard == [server.words] and not talk.faults
    assert [each.text for each in talk.told if isinstance(each, TellSentence)] == [server.words]
    assert [each.text for each in talk.told if isinstance(each, Commit)] == [server.heard]
    states = [each.state for each in talk.told if isinstance(each, TellState)]
    assert states == [TurnState.HEARING, TurnState.THINKING, TurnState.SPEAKING, TurnState.LISTENING]
    assert talk.dialogue.machine.history == [Message(Role.PERSON, server.heard), Message(Role.AVATAR, server.words)]
    (update,) = server.of_type("session.update")
    assert update["session"]["instructions"] == "Be brief." and server.keys == ["Bearer secret-key"]


async def test_who_speaks_into_the_answer_ends_it_and_the_model_learns_what_was_heard() -> None:
    server = RealtimeServer(words=" ".join(f"word{n:02}" for n in range(30)))
    async with talking(server) as talk:
        await talk.dialogue.type("Count.")
        await talk.until(lambda: talk.dialogue.machine.state is TurnState.SPEAKING)
        await talk.hear(silence(0.6), tone(0.5), silence(0.7))
        await talk.answered(2)
    assert talk.mouth.cut == [1]
    (cut,) = server.of_type("conversation.item.truncate")
    assert cut["audio_end_ms"] == pytest.approx(1000 * talk.mouth.played_s[1], abs=1)
    words = len(talk.heard[0].split())
    assert abs(words - talk.mouth.played_s[1] / 0.1) <= 1 and talk.heard[1] == server.words
    assert not talk.faults


async def test_interrupt_while_the_server_still_answers_cancels_it_before_the_next_question() -> None:
    server = RealtimeServer(words=" ".join(f"word{n:02}" for n in range(50)))
    server.pace_s = 0.1
    async with talking(server) as talk:
        await talk.dialogue.type("Count.")
        await talk.until(lambda: talk.dialogue.machine.state is TurnState.SPEAKING)
        server.words, server.pace_s = "Yes?", 0.01
        await talk.dialogue.type("Stop that.")
        await talk.answered(2)
        await talk.dialogue.tap()
    kinds = [message["type"] for message in server.received]
    assert kinds.index("response.cancel") < len(kinds) - 1 - kinds[::-1].index("response.create")
    assert talk.heard[1] == "Yes?" and not talk.faults


async def test_question_upon_question_is_answered_once_by_the_last_answer() -> None:
    server = RealtimeServer(words="Both of them.")
    async with talking(server) as talk:
        for text in ("One.", "Two.", "Three."):
            await talk.dialogue.type(text)
        await talk.answered(3)
        await asyncio.sleep(0.2)
    assert talk.heard == ["", "", "Both of them."] and not talk.faults
    assert [each["item"]["content"][0]["text"] for each in server.of_type("conversation.item.create")] == [
        "One.",
        "Two.",
        "Three.",
    ]


@pytest.mark.parametrize(
    ("fault", "codes", "heard"),
    [
        ("break", ["answer_broken_off"], "It is"),
        ("garbage", ["answer_broken_off"], "It is"),
        ("fail", ["answer_broken_off"], "It is"),
        ("silent", ["responder_unavailable"], ""),
    ],
)
async def test_fault_of_the_server_is_told_and_the_next_turn_works(fault: str, codes: list[str], heard: str) -> None:
    server = RealtimeServer()
    server.fault = fault
    async with talking(server, (Message(Role.PERSON, "Hello."), Message(Role.AVATAR, "Hi."))) as talk:
        patience_s = talk.dialogue.machine._first_s
        if fault == "silent":
            talk.dialogue.machine._first_s = 0.5
        await talk.dialogue.type("What time is it?")
        await talk.answered(1)
        talk.dialogue.machine._first_s = patience_s
        assert talk.faults == codes and talk.heard == [heard]
        server.fault = ""
        if fault in ("break", "garbage"):
            await talk.until(lambda: len(server.of_type("session.update")) == 2)
            kept = [each["item"]["content"][0]["text"] for each in server.of_type("conversation.item.create")]
            assert kept == ["Hello.", "Hi.", "What time is it?", "Hello.", "Hi.", "What time is it?", "It is"]
        await talk.dialogue.type("And now?")
        await talk.answered(2)
    assert talk.heard[1] == server.words and talk.faults == codes


async def test_server_that_refuses_the_key_is_told_when_someone_speaks_and_used_once_it_does_not() -> None:
    server = RealtimeServer()
    server.status = HTTPStatus.UNAUTHORIZED
    async with talking(server) as talk:
        await talk.until(lambda: talk.dialogue.machine._was_lost)
        await talk.dialogue.type("Hello?")
        await talk.answered(1)
        assert talk.faults == ["responder_unavailable"] and talk.heard == [""]
        server.status = None
        await talk.until(lambda: server.of_type("session.update"))
        await talk.dialogue.type("Hello?")
        await talk.answered(2)
    assert talk.heard == ["", server.words]
    assert [each["item"]["content"][0]["text"] for each in server.of_type("conversation.item.create")] == ["Hello?"] * 2
    assert not any("secret" in str(each) for each in talk.told)


async def test_messages_of_both_sides_are_those_of_the_reference() -> None:
    """The client's by the types of OpenAI's own package, and the stand-in's, so that it stands for the real one."""
    pytest.importorskip("openai", reason="the types of OpenAI's package are not installed")
    from openai.types.realtime import RealtimeServerEvent
    from openai.types.realtime.realtime_client_event import RealtimeClientEvent
    from pydantic import TypeAdapter

    server = RealtimeServer(words=" ".join(f"word{n:02}" for n in range(20)))
    async with talking(server, (Message(Role.PERSON, "Hello."), Message(Role.AVATAR, "Hi."))) as talk:
        await talk.hear(silence(0.3), tone(0.5), silence(0.6))
        await talk.until(lambda: talk.dialogue.machine.state is TurnState.SPEAKING)
        await talk.dialogue.tap()
        await talk.answered(1)
        await talk.until(lambda: server.of_type("conversation.item.truncate"))
    client: TypeAdapter[object] = TypeAdapter(RealtimeClientEvent)
    kinds = set()
    for message in server.received:
        client.validate_python(message)
        kinds.add(message["type"])
    assert kinds >= {"session.update", "input_audio_buffer.append", "input_audio_buffer.commit", "response.create"}
    theirs: TypeAdapter[object] = TypeAdapter(RealtimeServerEvent)
    for event in server.sent:
        theirs.validate_python(event)
    assert [each.final for each in talk.told if isinstance(each, TellTranscript)] == [True]
