"""Sentences, alignments and clips of the training data."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.speech.alignment import Aligner, fill_gaps, implausibility
from training.speech.backgrounds import KINDS, background
from training.speech.clip import Clip, Phone, read_clips, write_clips
from training.speech.held_out import TEXTS, held_out_sentences
from training.speech.sentences import PATTERNS, TWISTERS, WORDS, SentenceMaker, spoken_words
from training.speech.voices import missing, open_voice


@pytest.fixture(scope="module")
def lexicon() -> dict[str, list[str]]:
    """Every word of the patterns, with made-up phones: one for each letter."""
    texts = [*PATTERNS, *TWISTERS, *(entry.replace("|", " ") for entry in WORDS.values())]
    words = {word for text in texts for word in spoken_words(text)}
    plurals = {f"{noun}s" for noun in WORDS["noun"].split()} | {f"{name}'s" for name in WORDS["name"].split()}
    return {word: list(word.upper()) for word in sorted(words | plurals)}


def test_sentences_repeat_with_their_seed_and_never_within_it(lexicon: dict[str, list[str]]) -> None:
    first, again, other = (SentenceMaker(lexicon, seed) for seed in (1, 1, 2))
    texts = [first().text for _ in range(400)]
    assert texts == [again().text for _ in range(400)]
    assert texts[:50] != [other().text for _ in range(50)]
    assert len({tuple(spoken_words(text)) for text in texts}) == 400


def test_sentences_hold_questions_pauses_and_many_pairs_of_phones(lexicon: dict[str, list[str]]) -> None:
    maker = SentenceMaker(lexicon, 5)
    sentences = [maker() for _ in range(400)]
    assert sum(sentence.text.endswith("?") for sentence in sentences) > 15
    assert sum(len(sentence.phrases) > 1 for sentence in sentences) > 40
    phones = [[phone for word in spoken_words(s.text) for phone in lexicon[word]] for s in sentences]
    pairs = {pair for one in phones for pair in itertools.pairwise(one)}
    assert len(pairs) > 350


def test_forbidden_texts_are_never_made(lexicon: dict[str, list[str]]) -> None:
    made = [SentenceMaker(lexicon, 1)().text for _ in range(1)]
    assert made[0] not in [SentenceMaker(lexicon, 1, forbidden=made)().text for _ in range(1)]


def test_words_that_the_lexicon_lacks_are_never_spoken(lexicon: dict[str, list[str]]) -> None:
    few = {word: phones for word, phones in lexicon.items() if word != "the"}
    maker = SentenceMaker(few, 1)
    assert all("the" not in spoken_words(maker().text) for _ in range(100))


def test_held_out_texts_are_not_among_the_sentences_of_training() -> None:
    assert len(TEXTS) >= 26  # 20 and six to replace what can't be aligned
    known = {tuple(spoken_words(text)) for text in TWISTERS}
    assert not known & {tuple(spoken_words(sentence.text)) for sentence in held_out_sentences()}


def test_phones_cover_the_clip_from_end_to_end() -> None:
    phones = fill_gaps(
        [Phone("SIL", 0, 0.2), Phone("HH", 0.2, 0.3), Phone("AY", 0.303, 0.5), Phone("+NSN+", 0.5, 0.6)], 1.0
    )
    assert [phone.name for phone in phones] == ["SIL", "HH", "AY", "SIL"]
    assert phones[0].start_s == 0 and phones[-1].end_s == 1.0
    assert all(before.end_s == after.start_s for before, after in itertools.pairwise(phones))


def test_an_alignment_that_fits_its_audio_is_plausible() -> None:
    phones, samples = _vowels()
    assert implausibility(phones, samples) is None


def test_an_alignment_beside_its_audio_is_implausible() -> None:
    phones, samples = _vowels()
    assert "sound in the silence" in str(implausibility(fill_gaps(phones[1:3], 2.0), samples))
    shortest = [Phone("AA", 0.5 + 0.03 * i, 0.53 + 0.03 * i) for i in range(9)]
    assert "shortest possible length" in str(implausibility(fill_gaps(shortest, 2.0), samples))
    assert "0.90 s" in str(implausibility(fill_gaps([Phone("AA", 0.5, 1.4)], 2.0), samples))
    assert implausibility(fill_gaps([], 2.0), samples) == "nothing spoken"


def test_timings_do_not_depend_on_what_was_aligned_before() -> None:
    pytest.importorskip("pocketsphinx")
    if missing(["espeak"]):
        pytest.skip("espeak-ng is not installed")
    speak = open_voice("espeak")
    spoken = [(text, speak(text, 0.8 + 0.1 * i, 0)) for i, text in enumerate(TEXTS[:8])]
    spoken = [(text, samples * 10 ** (i - 4)) for i, (text, samples) in enumerate(spoken)]
    forwards, backwards = Aligner(), Aligner()
    first = {text: forwards(samples, text) for text, samples in spoken}
    assert first == {text: backwards(samples, text) for text, samples in reversed(spoken)}


def test_vowels_over_silence_are_implausible() -> None:
    phones, samples = _vowels()
    samples = samples.copy()
    samples[16000:24000] = 0
    assert "vowels without sound" in str(implausibility(phones, samples))


@pytest.mark.parametrize("kind", KINDS)
def test_backgrounds_repeat_and_stay_soft(kind: str) -> None:
    sound = background(kind, 3.0, np.random.default_rng(4))
    assert len(sound) == 48_000
    assert np.array_equal(sound, background(kind, 3.0, np.random.default_rng(4)))
    assert 0 < np.sqrt((sound**2).mean()) < 0.1


def test_clips_are_read_as_they_were_written(tmp_path: Path) -> None:
    clip = Clip("train-0001", "slt", "train", "ah, no.", (Phone("SIL", 0.0, 0.25), Phone("AA", 0.25, 0.5)), 13)
    write_clips(tmp_path / "speech.json", [clip, replace(clip, id="train-0002")])
    assert read_clips(tmp_path / "speech.json") == [clip, replace(clip, id="train-0002")]
    row = json.loads((tmp_path / "speech.json").read_text())[0]
    assert row["phones"] == [["SIL", 0.0, 0.25], ["AA", 0.25, 0.5]]
    assert row["n_frames"] == 13


def _vowels() -> tuple[list[Phone], NDArray[np.float32]]:
    """Five vowels over sound from 0.5 s to 1.5 s of 2 s."""
    samples = np.zeros(32_000, np.float32)
    samples[8_000:24_000] = 0.3 * np.sin(np.arange(16_000) * 0.1)
    return fill_gaps([Phone("AA", 0.5 + 0.2 * i, 0.7 + 0.2 * i) for i in range(5)], 2.0), samples
