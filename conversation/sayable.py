"""What of a written sentence can be said: no markup, emoji or control characters, and of addresses the host."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from markdown_it import MarkdownIt
from markdown_it.token import Token

_MARKDOWN = MarkdownIt("commonmark", {"html": False})
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,300}>")
_ADDRESS = re.compile(r"(?:https?://|www\.)(?:www\.)?([^\s/?#<>()\[\]]+)[^\s<>()\[\]]*", re.IGNORECASE)
_CLOSING = ".,;:!?\uff0c\u3002\uff1b\uff1a\uff01\uff1f"
# So is "other symbols": emoji and dingbats, but also °, ™, № and ㎏, which are said.
_FIRST_PICTURE = 0x2190
_UNITS = range(0x3200, 0x3400)
_NON_JOINER = "\u200c"  # belongs to the spelling of Persian words
_UNSAID = {"Cc", "Cf", "Cn", "Co", "Cs", "Me"}
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_VARIATIONS = range(0xFE00, 0xFE10)


def sayable(text: str) -> str:
    """One line of what can be said of a text, empty where that is nothing: a word needs a letter or a digit."""
    # Breaks of lines are markup's; other control characters would only disturb it.
    text = "".join(char for char in text if char == "\n" or not _is_unsaid(char))
    text = " ".join(_words(_MARKDOWN.parse(_ADDRESS.sub(_host, text))))
    text = " ".join(_TAG.sub(" ", text).replace("```", " ").split())
    return text if any(char.isalnum() for char in text) else ""


def _words(tokens: Iterable[Token]) -> Iterable[str]:
    for token in tokens:
        if token.type == "list_item_open" and token.info:
            yield f"{token.info}."  # what looks like a list may be the end of a sentence: "in 2026. It was"
        elif token.type == "inline":
            yield "".join(_written(token.children or ()))
        elif token.type in ("fence", "code_block"):
            yield token.content


def _written(tokens: Iterable[Token]) -> Iterable[str]:
    for token in tokens:
        if token.type == "image":
            yield "".join(_written(token.children or ()))
        elif token.type in ("softbreak", "hardbreak"):
            yield " "
        else:
            yield token.content  # empty for what only opens or closes something


def _host(found: re.Match[str]) -> str:
    whole = found.group(0)
    closing = whole[len(whole.rstrip(_CLOSING)) :]
    return found.group(1).rstrip(_CLOSING) + closing


def _is_unsaid(char: str) -> bool:
    code, kind = ord(char), unicodedata.category(char)
    if kind == "So":
        return code >= _FIRST_PICTURE and code not in _UNITS
    return (kind in _UNSAID and char not in ("\t", _NON_JOINER)) or code in _SKIN_TONES or code in _VARIATIONS
