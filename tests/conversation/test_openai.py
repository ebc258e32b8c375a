"""A synthesiser with OpenAI's interface, over real HTTP: it streams, and each fault of it has its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from conversation.saying import spoken as said_of
from conversation.sentences import Sentence
from conversation.synthesis import openai
from conversation.synthesis.openai import OpenAiSynthesiser, Provider
from conversation.synthesis.synthesiser import SynthesisError, Voice
from tests.support.speech_provider import Exchange, SpeechProvider, pcm, spoken

TEXT = "Good morning to you."


@pytest_asyncio.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SpeechProvider]:
    monkeypatch.setattr(openai, "_FIRST_PAUSE_S", 0.01)
    async with SpeechProvider().running() as running:
        yield running


@asynccontextmanager
async def using(provider: SpeechProvider, timeout_s: float = 10.0) -> AsyncIterator[OpenAiSynthesiser]:
    synthesiser = OpenAiSynthesiser(
        Provider(provider.url, "tts-9", ("alloy", "nova"), key="sk-s3cr3t", timeout_s=timeout_s)
    )
    work = asyncio.create_task(synthesiser.run())
    try:
        yield synthesiser
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def said(synthesiser: OpenAiSynthesiser, rate: float = 1.0) -> NDArray[np.int16]:
    blocks = [block async for block in synthesiser.synthesise(TEXT, Voice("nova", rate=rate))]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.int16)


async def refused(provider: SpeechProvider, timeout_s: float = 10.0) -> SynthesisError:
    async with using(provider, timeout_s) as synthesiser:
        with pytest.raises(SynthesisError) as refusal:
            await said(synthesiser)
    assert "s3cr3t" not in refusal.value.message
    return refusal.value


async def test_what_it_sends_is_handed_on_to_the_sample(provider: SpeechProvider) -> None:
    async with using(provider) as synthesiser:
        np.testing.assert_array_equal(await said(synthesiser), np.frombuffer(pcm(1.0), "<i2"))
        assert len(await said(synthesiser, rate=2.0)) == 12_000
    first, second = provider.seen
    assert first.body == {"model": "tts-9", "input": TEXT, "voice": "nova", "response_format": "pcm"}
    assert second.body["speed"] == 2.0
    assert first.headers["authorization"] == "Bearer sk-s3cr3t"


async def test_it_is_heard_while_it_answers(provider: SpeechProvider) -> None:
    heard = asyncio.Event()

    async def in_two(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.chunk(pcm(0.5))
        await heard.wait()
        await exchange.chunk(pcm(0.5))
        await exchange.end()

    provider.answer = in_two
    async with using(provider) as synthesiser, aclosing(synthesiser.synthesise(TEXT, Voice("nova"))) as blocks:
        assert len(await anext(blocks))
        heard.set()
        assert len(await anext(blocks))


async def test_what_passes_before_the_first_byte_is_tried_again(provider: SpeechProvider) -> None:
    answers = iter([429, 503])

    async def busy_twice(exchange: Exchange) -> None:
        if (status := next(answers, 200)) == 200:
            return await spoken(exchange)
        await exchange.head(status, Retry_After="0", Connection="close")
        await exchange.end()

    provider.answer = busy_twice
    async with using(provider) as synthesiser:
        assert len(await said(synthesiser)) == 24_000
    assert len(provider.seen) == 3


async def answers_nothing(exchange: Exchange) -> None:
    await asyncio.sleep(60)


async def hangs_up(exchange: Exchange) -> None:
    return


async def is_busy(exchange: Exchange) -> None:
    await exchange.head(429, Connection="close")
    await exchange.end()


@pytest.mark.parametrize("answer", [answers_nothing, hangs_up, is_busy])
async def test_one_that_does_not_answer_is_given_up_after_three_attempts(
    provider: SpeechProvider, answer: object
) -> None:
    provider.answer = answer  # type: ignore[assignment]
    assert (await refused(provider, timeout_s=1.0)).code == "synthesiser_unavailable"
    assert len(provider.seen) == 3


async def test_nobody_there_is_told_with_the_address(provider: SpeechProvider) -> None:
    provider.url = "http://127.0.0.1:9/v1"
    refusal = await refused(provider)
    assert refusal.code == "synthesiser_unavailable" and "127.0.0.1:9" in refusal.message


async def stalls(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.chunk(pcm(0.3))
    await asyncio.sleep(60)


async def breaks_off(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.chunk(pcm(0.3))


@pytest.mark.parametrize("answer", [stalls, breaks_off])
async def test_what_broke_off_is_not_asked_for_again(provider: SpeechProvider, answer: object) -> None:
    provider.answer = answer  # type: ignore[assignment]
    assert (await refused(provider, timeout_s=1.0)).code == "synthesis_failed"
    assert len(provider.seen) == 1, "else its beginning would be heard twice"


async def trickles(exchange: Exchange, status: int = 200) -> None:
    await exchange.head(status)
    while True:
        await exchange.chunk(b"\0\0")
        await asyncio.sleep(0.05)


async def trickles_its_head(exchange: Exchange) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Padding: 1\r\n" * 100:
        await exchange._write(bytes([byte]))
        await asyncio.sleep(0.05)


async def trickles_its_refusal(exchange: Exchange) -> None:
    await trickles(exchange, 400)


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (trickles, "synthesiser_unavailable", "too slow"),
        (trickles_its_head, "synthesiser_unavailable", "no answer within 2 s"),
        (trickles_its_refusal, "synthesis_failed", "status 400"),
    ],
)
async def test_one_that_sends_a_byte_now_and_then_is_given_up(
    provider: SpeechProvider, answer: object, code: str, said: str
) -> None:
    provider.answer = answer  # type: ignore[assignment]
    async with asyncio.timeout(60):
        refusal = await refused(provider, timeout_s=1.0)
    assert refusal.code == code and said in refusal.message


async def test_who_hears_it_may_pause(provider: SpeechProvider) -> None:
    async def in_two_short_ones(exchange: Exchange) -> None:
        await exchange.head(Connection="close")
        await exchange.chunk(pcm(0.005))
        await asyncio.sleep(0.1)
        await exchange.chunk(pcm(0.005))
        await exchange.end()

    provider.answer = in_two_short_ones
    async with using(provider, 1.0) as synthesiser, aclosing(synthesiser.synthesise(TEXT, Voice("nova"))) as blocks:
        await anext(blocks)
        await asyncio.sleep(1.5)
        assert len(await anext(blocks)) == 120


async def speaks_json(exchange: Exchange) -> None:
    await exchange.head(kind="application/json", Connection="close")
    await exchange.chunk(b'{"audio": null}')
    await exchange.end()


async def sends_wav(exchange: Exchange) -> None:
    await exchange.head(Connection="close")
    await exchange.chunk(b"RIFF\x00\x00\x00\x00WAVE")
    await exchange.end()


async def cuts_a_sample(exchange: Exchange) -> None:
    await exchange.head(Connection="close")
    await exchange.chunk(pcm(0.1) + b"\x01")
    await exchange.end()


async def refuses_the_text(exchange: Exchange) -> None:
    await exchange.head(400, kind="application/json", Connection="close")
    await exchange.chunk(b'{"error": {"message": "no such voice"}}')
    await exchange.end()


@pytest.mark.parametrize("answer", [speaks_json, sends_wav, cuts_a_sample, refuses_the_text])
async def test_garbage_is_refused(provider: SpeechProvider, answer: object) -> None:
    provider.answer = answer  # type: ignore[assignment]
    refusal = await refused(provider)
    assert refusal.code == "synthesis_failed" and len(provider.seen) == 1
    if answer is refuses_the_text:
        assert "no such voice" in refusal.message


async def test_a_refused_key_is_told_without_what_the_server_says_of_it(provider: SpeechProvider) -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.head(401, kind="application/json", Connection="close")
        await exchange.chunk(b'{"error": {"message": "Incorrect API key provided: sk-s3cr3t"}}')
        await exchange.end()

    provider.answer = refuses
    assert (await refused(provider)).code == "synthesiser_unavailable"


async def test_an_endless_answer_is_left(provider: SpeechProvider) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.head()
        while True:
            await exchange.chunk(pcm(1.0))

    async def one() -> AsyncIterator[Sentence]:
        yield Sentence(TEXT, 0.3)

    provider.answer = endless
    async with using(provider) as synthesiser:
        with pytest.raises(SynthesisError, match="doesn't end"):
            async for _ in said_of(one(), synthesiser, Voice("nova"), asyncio.get_running_loop().time):
                pass
        while not provider.left:
            await asyncio.sleep(0.01)
