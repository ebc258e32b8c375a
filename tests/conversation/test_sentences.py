"""A text becomes sentences that can be said, whole or in pieces, as soon as each is certain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from conversation.sayable import sayable
from conversation.sentences import LONGEST_CHARS, Sentence, SentenceCutter, sentences

ENGLISH = "Hello Dr. Smith, how are you? I paid $3.50 at 10:30 a.m. yesterday. Version 1.2.3 works! Bye"
CHINESE = "您好,今天天气很好。你呢?我很好!"
MARKUP = (
    "# News\nOne line\nand another.\n\n1. First **thing**\n2. `Second` thing\n- third\n\n"
    "See [this](https://a.example/x.y?z=1). End."
)


def cut(text: str, language: str = "en", size: int | None = None) -> list[str]:
    cutter, size = SentenceCutter(language), size or max(1, len(text))
    found = [each for first in range(0, len(text), size) for each in cutter.push(text[first : first + size])]
    return [each.text for each in (*found, *cutter.finish())]


def test_abbreviations_numbers_and_times_end_no_sentence() -> None:
    assert cut(ENGLISH) == [
        "Hello Dr. Smith, how are you?",
        "I paid $3.50 at 10:30 a.m. yesterday.",
        "Version 1.2.3 works!",
        "Bye",
    ]


def test_chinese_needs_no_spaces() -> None:
    assert cut(CHINESE, "zh-CN") == ["您好,今天天气很好。", "你呢?", "我很好!"]


def test_markup_is_not_said_and_items_are_sentences() -> None:
    assert cut(MARKUP) == [
        "News",
        "One line and another.",
        "1. First thing",
        "2. Second thing",
        "third",
        "See this.",
        "End.",
    ]


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, MARKUP, "word, " * 200, "x" * 700])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pieces_change_nothing(text: str, size: int) -> None:
    assert cut(text, size=size) == cut(text)


def test_a_sentence_is_certain_once_another_begins() -> None:
    cutter = SentenceCutter()
    assert cutter.push("Good morning. ") == []
    assert [each.text for each in cutter.push("H")] == ["Good morning."]
    assert [each.text for each in cutter.finish()] == ["H"]


@pytest.mark.parametrize("text", ["word, " * 200, "word " * 200, "字" * 700, "词,词,词。" * 3 + "词、" * 400])
def test_long_sentences_are_cut_and_no_letter_is_lost(text: str) -> None:
    parts = cut(text)
    assert all(len(part) <= LONGEST_CHARS for part in parts) and len(parts) > 1
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")


def test_long_sentences_are_cut_behind_clauses_rather_than_words() -> None:
    (first, *_) = cut("one two three, " * 40)
    assert first.endswith("three,")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("See https://www.example.com/a/b?c=d#e.", "See example.com."),
        ("20 °C, 5㎏ and ™", "20 °C, 5㎏ and ™"),
        ("Great 👍🏽👨‍👩‍👧 job ✅", "Great job"),
        ("a\x00b\x07c\u200bd\u202ee", "abcde"),
        ("2 * 3 * 4 and snake_case_name", "2 * 3 * 4 and snake_case_name"),
        ("<b>bold</b> and a < b &amp; c", "bold and a < b & c"),
        ("In 2026. It was", "In 2026. It was"),
        ("2026. It was", "2026. It was"),
        ("```py\nprint(1)\n```", "print(1)"),
        ("![a cat](cat.png)", "a cat"),
        ("*** --- !!! …", ""),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_what_can_be_said_of_it(written: str, said: str) -> None:
    assert sayable(written) == said


async def test_what_ends_like_a_sentence_is_one_when_nothing_follows() -> None:
    follows, ended = asyncio.Event(), asyncio.Event()

    async def pieces() -> AsyncIterator[str]:
        yield "I am here. And"
        await follows.wait()
        yield " you?"
        await ended.wait()

    async with aclosing(sentences(pieces(), "en", settled_s=0.02)) as found:
        assert (await anext(found)).text == "I am here."
        waiting = asyncio.ensure_future(anext(found))
        await asyncio.sleep(0.1)
        assert not waiting.done(), "“And” is none"
        follows.set()
        assert (await waiting).text == "And you?"
        ended.set()
        assert await anext(found, None) is None


def test_pauses_are_longer_between_paragraphs() -> None:
    cutter = SentenceCutter()
    found = [*cutter.push("One. Two.\n\nThree."), *cutter.finish()]
    pauses = {each.text: each.pause_s for each in found}
    assert pauses["One."] < pauses["Two."]
    assert isinstance(found[0], Sentence)
