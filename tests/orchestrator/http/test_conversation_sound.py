"""Conversations that are spoken: recorded questions, pauses and a button, barge-in, and the echo."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conversation.synthesis.synthesiser import Voice
from orchestrator.conversations.channel_ear import ChannelEar
from tests.support.chat_provider import ChatExchange, ChatProvider
from tests.support.human_voice import said, silence
from tests.support.running_server import RunningServer
from tests.support.sockets import open_socket, send
from tests.support.talk_client import LONG, TALK, Talk, talking_server

RATE = 16_000
BLOCK = RATE // 50
STORY = "Tell me what you see from the window of the train, and take your time with all of it."


class SpokenSynthesiser:
    """Says sentences with a voice, which a detector of voices would hear."""

    rate_hz = RATE
    voices = (Voice("heart", "en-US"),)

    async def synthesise(self, text: str, voice: Voice) -> AsyncGenerator[NDArray[np.int16], None]:
        yield said(text)

    async def run(self) -> None:
        await asyncio.sleep(float("inf"))


class Microphone:
    """Sends what is played to it, with silence before and behind it, in real time."""

    def __init__(self, talk: Talk, rate_hz: int = RATE, channels: int = 1) -> None:
        self.echo: Callable[[float], NDArray[np.int16]] = lambda at_s: silence(0.02)
        self._talk = talk
        self._repeat = rate_hz // RATE
        self._channels = channels
        self._waiting = silence(0)

    def play(self, sound: NDArray[np.int16]) -> None:
        self._waiting = np.concatenate([self._waiting, sound])

    async def run(self) -> None:
        began_s, sent = time.monotonic(), 0
        noise = np.random.default_rng(1)
        while True:
            block, self._waiting = self._waiting[:BLOCK], self._waiting[BLOCK:]
            block = np.concatenate([block, silence((BLOCK - len(block)) / RATE)])
            block = block + self.echo(began_s + (sent + BLOCK) / RATE) + noise.integers(-6, 7, BLOCK).astype(np.int16)
            await self._talk.socket.send(np.repeat(block.astype("<i2"), self._repeat * self._channels).tobytes())
            sent += BLOCK
            await asyncio.sleep(began_s + sent / RATE - time.monotonic())


@asynccontextmanager
async def speaking(
    server: RunningServer, rate_hz: int = RATE, channels: int = 1, **start: Any
) -> AsyncIterator[tuple[Talk, Microphone]]:
    async with open_socket(server, TALK) as socket:
        await send(socket, {"type": "start", "sample_rate": rate_hz, "channels": channels, **start})
        talk = Talk(socket)
        await talk.until("ready")
        microphone = Microphone(talk, rate_hz, channels)
        running = asyncio.create_task(microphone.run())
        try:
            yield talk, microphone
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


class Understanding:
    """Answers of a recogniser over real HTTP: `words`, whatever it is sent."""

    def __init__(self, words: str) -> None:
        self.words = words

    async def answer(self, exchange: ChatExchange) -> None:
        assert exchange.path == "/v1/audio/transcriptions"
        await exchange.whole(200, json.dumps({"text": self.words}))


@asynccontextmanager
async def hearing_server(folder: Path, understanding: Understanding) -> AsyncIterator[RunningServer]:
    async with (
        ChatProvider(understanding.answer).running() as provider,
        talking_server(folder, recogniser="openai", recogniser_url=provider.url) as server,
    ):
        yield server


async def test_a_recorded_question_is_answered_after_a_pause(tmp_path: Path) -> None:
    async with (
        hearing_server(tmp_path, Understanding("Say hello.")) as server,
        speaking(server, 48_000, 2) as (talk, microphone),
    ):
        microphone.play(said("Say hello."))
        assert (await talk.until("heard"))["text"] == "hello."
        assert await talk.until("state", state="listening")
        states = [message["state"] for message in talk.told if message["type"] == "state"]
        assert states == ["hearing", "thinking", "speaking", "listening"]
        assert talk.texts("transcript")[-1] == "Say hello."
        ledger = next(message["stages"] for message in talk.told if message["type"] == "ledger")
        assert ledger["decided"] >= 500  # a pause of 0.5 s ends a turn


async def test_words_spoken_into_an_answer_end_it_and_are_answered(tmp_path: Path) -> None:
    understanding = Understanding(LONG)
    async with hearing_server(tmp_path, understanding) as server, speaking(server) as (talk, microphone):
        microphone.play(said("Say one two three."))
        await talk.until("ledger")
        await asyncio.sleep(2.2)  # until then the microphone's echo isn't known, and may be as loud as this voice
        understanding.words = "Say done."
        microphone.play(said("Now say that you are done."))
        await talk.until("state", state="interrupted")
        first, second = await talk.until("heard"), await talk.until("heard")
        assert 0 < len(first["text"]) < len(LONG) and LONG.removeprefix("Say ").startswith(first["text"])
        assert second["text"] == "done."


async def test_a_button_that_is_let_go_ends_the_turn_and_a_pause_does_not(tmp_path: Path) -> None:
    async with (
        hearing_server(tmp_path, Understanding("Say hello.")) as server,
        speaking(server, mode="push") as (talk, microphone),
    ):
        microphone.play(np.concatenate([said("Say"), silence(1.2), said("hello.")]))
        await talk.until("transcript")
        await asyncio.sleep(2.0)
        await send(talk.socket, {"type": "release"})
        heard = await talk.until("heard")
        assert (heard["turn"], heard["text"]) == (1, "hello.")
        assert [message["final"] for message in talk.told if message["type"] == "transcript"].count(True) == 1


async def test_the_avatars_own_echo_does_not_interrupt_it(tmp_path: Path) -> None:
    async with hearing_server(tmp_path, Understanding("Stop it.")) as server, speaking(server) as (talk, microphone):
        server.orchestrator.synthesiser = SpokenSynthesiser()
        loud, room = 0, ChannelEar(server.orchestrator.channels["main"].packet_socket, time.monotonic)
        hearing = asyncio.create_task(room.run())

        def echo(at_s: float) -> NDArray[np.int16]:
            """What the encoder gave out, 20 dB less, 0.2 s later."""
            nonlocal loud
            sound = room.sounding(at_s - 0.2, BLOCK)
            sound = silence(0.02) if sound is None else (sound // 10).astype(np.int16)
            loud += int(np.count_nonzero(np.abs(sound) > 50))
            return sound

        microphone.echo = echo
        await talk.say(f"Say {STORY}")
        assert (await talk.until("heard"))["text"] == STORY
        hearing.cancel()
        assert loud > RATE, "nothing could interrupt it"
        assert not [message for message in talk.told if message.get("state") in ("interrupted", "hearing")]


@pytest.mark.slow
async def test_a_recorded_question_is_understood_by_the_embedded_recogniser(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server, speaking(server) as (talk, microphone):
        microphone.play(said("What time is it?"))
        assert "on this server" in (await talk.until("heard"))["text"]
        assert "time" in talk.texts("transcript")[-1].lower()
