"""Marks in a text fire with the word they stand before, and are never said."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest

from conversation.marks import without_marks
from conversation.saying import Spoken, spoken
from conversation.sentences import Sentence, SentenceCutter, sentences
from conversation.synthesis.synthesiser import SynthesisError
from tests.support.synthesisers import ToneSynthesiser


def cut(text: str, marks: bool = True) -> list[Sentence]:
    cutter = SentenceCutter("en", marks=marks)
    return [*cutter.push(text), *cutter.finish()]


def test_a_mark_is_a_name_in_brackets_and_no_link() -> None:
    assert without_marks("[wave] Hello [nod]there.").text == "Hello there."
    assert without_marks("[wave] Hello [nod]there.").marks == ((0, "wave"), (6, "nod"))
    for text in ("[Wave]", "[a b]", "[docs](https://x.example)", "[docs]: https://x.example", "[]", "a[0"):
        assert without_marks(text).marks == ()


def test_sentences_have_their_marks_where_the_words_are() -> None:
    found = cut("[wave] Hello there. That is [nod] half of it.")
    assert [sentence.text for sentence in found] == ["Hello there.", "That is half of it."]
    assert [[mark.name for mark in sentence.marks] for sentence in found] == [["wave"], ["nod"]]
    assert found[0].marks[0].share == 0
    assert found[1].marks[0].share == pytest.approx(len("That is ") / len("That is half of it."), abs=0.06)


def test_a_mark_without_a_word_belongs_to_the_next_sentence_or_to_the_end() -> None:
    found = cut("One.\n\n[wave]\n\nTwo. [bow]")
    assert [(s.text, [mark.name for mark in s.marks]) for s in found] == [
        ("One.", []),
        ("Two.", ["wave"]),
        ("", ["bow"]),
    ]


def test_marks_arrive_in_pieces_and_behind_markup() -> None:
    cutter = SentenceCutter("en", marks=True)
    found = [s for piece in ("**He", "llo** [wa", "ve] you. S", "o") for s in cutter.push(piece)] + cutter.finish()
    assert [s.text for s in found] == ["Hello you.", "So"]
    assert found[0].marks[0].share == pytest.approx(0.6, abs=0.06)


@pytest.mark.parametrize("text", ["[a] " * 300 + "Hello.", "[a] b" * 100 + ".", "[a]\n\n" * 100 + "Hello."])
def test_a_sentence_has_eight_marks_at_most(text: str) -> None:
    """Each is told to all who listen, and those that name no motion are logged."""
    assert max(len(sentence.marks) for sentence in cut(text)) == 8


def test_without_motions_text_is_said_as_it_is() -> None:
    assert cut("[wave] Hello.", marks=False) == [Sentence("[wave] Hello.", 0.35)]


async def said(text: str) -> list[Spoken]:
    async def pieces() -> AsyncIterator[str]:
        yield text

    synthesiser = ToneSynthesiser()
    cut_text = sentences(pieces(), "en", marks=True)
    async with aclosing(spoken(cut_text, synthesiser, ToneSynthesiser.voices[0], time.monotonic)) as sound:
        return [part async for part in sound]


async def test_a_cue_lies_where_the_share_of_the_sound_is() -> None:
    parts = await said("Abcd [wave] efgh.")
    (cue,) = [cue for part in parts for cue in part.cues]
    whole = np.concatenate([part.samples for part in parts if part.cues])
    assert cue[1] == "wave"
    assert cue[0] / len(whole) == pytest.approx(0.5, abs=0.06)


async def test_a_text_of_marks_alone_is_empty() -> None:
    with pytest.raises(SynthesisError, match="no word"):
        await said("[wave]")
