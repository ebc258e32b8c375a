"""Sentences are synthesised in order, with pauses between them alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest

from conversation.saying import Spoken, spoken
from conversation.sentences import Sentence
from conversation.synthesis.synthesiser import SynthesisError, voice_of
from tests.support.synthesisers import ToneSynthesiser


async def of(*texts: str) -> AsyncIterator[Sentence]:
    for text in texts:
        yield Sentence(text, 0.25)


async def said(synthesiser: ToneSynthesiser, *texts: str) -> list[Spoken]:
    return [part async for part in spoken(of(*texts), synthesiser, synthesiser.voices[0], lambda: 0.0)]


async def test_each_sentence_ends_where_the_speech_may_pause() -> None:
    parts = await said(ToneSynthesiser(), "abc", "abcdef")
    assert [part.may_pause for part in parts].count(True) == 2
    pauses = [part.samples for part in parts if part.may_pause]
    assert all(len(pause) == 6_000 and not pause.any() for pause in pauses)
    sound = np.concatenate([part.samples for part in parts if not part.may_pause])
    assert len(sound) == pytest.approx(0.9 * 24_000, rel=0.01)


async def test_a_sentence_is_asked_for_when_the_one_before_it_is_handed_over() -> None:
    synthesiser = ToneSynthesiser()
    async with aclosing(spoken(of("a", "b"), synthesiser, synthesiser.voices[0], lambda: 0.0)) as parts:
        await anext(parts)
        assert [text for text, _ in synthesiser.said] == ["a"]


async def test_what_the_voice_cannot_say_is_passed_over_unless_it_is_all() -> None:
    assert len([part for part in await said(ToneSynthesiser(), "a", "123", "b") if part.may_pause]) == 2
    with pytest.raises(SynthesisError, match="low, which speaks en-US") as refused:
        await said(ToneSynthesiser(), "123")
    assert refused.value.code == "unsayable_text"
    with pytest.raises(SynthesisError) as refused:
        await said(ToneSynthesiser())
    assert refused.value.code == "empty_text"


async def test_who_leaves_ends_the_work() -> None:
    synthesiser = ToneSynthesiser()
    synthesiser.gate.clear()
    parts = spoken(of("a"), synthesiser, synthesiser.voices[0], lambda: 0.0)
    waiting = asyncio.ensure_future(anext(parts))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert synthesiser.cancelled == 1


def test_voices_are_found_by_name_with_a_rate() -> None:
    assert voice_of(ToneSynthesiser(), None).name == "low"
    assert voice_of(ToneSynthesiser(), "high", 1.5).rate == 1.5
    with pytest.raises(SynthesisError, match="'deep'; there is low, high"):
        voice_of(ToneSynthesiser(), "deep")
    with pytest.raises(ValueError, match="rate is 3"):
        voice_of(ToneSynthesiser(), "low", 3.0)
