"""Words: whether a transcript has any, and which of a sentence were heard up to a position."""

from __future__ import annotations

import re

from conversation.synthesis.holding import expected_s

# What recognisers write for sounds that are no words: "[BLANK_AUDIO]", "(coughs)", "*sighs*", a note.
_SOUND = re.compile(r"\[[^\]]*\]|\([^)]*\)|\*[^*]*\*|♪[^♪]*♪?")
# A word with the space before it; of scripts that write no spaces each character is one.
_WIDE = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"\s*(?:[{_WIDE}][^\w\s]*|[^\s{_WIDE}]+)")


def has_words(text: str) -> bool:
    """Whether someone said something, and not only made a sound."""
    return any(char.isalnum() for char in _SOUND.sub("", text))


def heard_words(sentence: str, share: float) -> tuple[str, str]:
    """The words that end within `share` of a sentence's time, 0 … 1, and the rest of it.

    A word takes as long as its letters let expect, in proportion. Both texts joined are the sentence.
    """
    words = _WORD.findall(sentence)
    lengths = [max(expected_s(word), 1e-6) for word in words]
    until, size = share * sum(lengths) + 1e-9, 0
    for word, length in zip(words, lengths, strict=True):
        until -= length
        if until < 0:
            break
        size += len(word)
    return sentence[:size], sentence[size:]
