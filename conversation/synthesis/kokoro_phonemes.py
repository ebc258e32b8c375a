"""From text to the phonemes that Kokoro was trained with: Chinese by misaki's rules, English by its dictionaries."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import jieba
from misaki.zh import ZHG2P

_LATIN = re.compile(r"([A-Za-z][A-Za-z']*)")
_SPELT = 3  # capital letters: GPU, US; longer ones may be words, as NASA
_DICTIONARIES = ("us_gold.json", "us_silver.json")


def phonemes(text: str, language: str) -> str:
    """Of a sentence in `zh`, in which Latin words are English, or `en`."""
    parts = _LATIN.split(text)  # every second one is a Latin word
    other = _chinese if language == "zh" else str
    spoken = [_english(part) if number % 2 else other(part) for number, part in enumerate(parts)]
    return " ".join(" ".join(spoken).split()) if language == "zh" else "".join(spoken).strip()


def _chinese(text: str) -> str:
    spoken, _ = _rules()(text) if text.strip() else ("", None)
    return str(spoken)


def _english(word: str) -> str:
    """As the dictionaries have it; abbreviations, and what they don't have, are spelt."""
    if not (word.isupper() and 1 < len(word) <= _SPELT):
        for form in (word, word.lower()):
            for dictionary in _dictionaries():
                found = dictionary.get(form)
                if found:
                    return found["DEFAULT"] if isinstance(found, dict) else found
    letters = (_dictionaries()[0].get(letter.upper()) for letter in word)
    return " ".join(str(letter) for letter in letters if letter)


@cache
def _rules() -> ZHG2P:
    jieba.setLogLevel("WARNING")  # else it tells at each start that it reads its dictionary
    return ZHG2P()


@cache
def _dictionaries() -> tuple[dict[str, str | dict[str, str]], ...]:
    spec = find_spec("misaki")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return tuple(json.loads((folder / name).read_text("utf-8")) for name in _DICTIONARIES)
