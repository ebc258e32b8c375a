"""Marks in a text, as `[wave]`: names of motions that begin with the word behind them, and are not said."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A link of Markdown has its address behind the bracket, and the definition of one a colon.
_MARK = re.compile(r"\[([a-z0-9][a-z0-9_-]{0,63})\](?![(\[:])[ \t]?")


@dataclass(frozen=True)
class Mark:
    """A motion by its name, and the share of its sentence's text that stands before it."""

    name: str
    share: float


@dataclass(frozen=True)
class Marked:
    """A text without its marks; each mark's place counts the characters before it."""

    text: str
    marks: tuple[tuple[int, str], ...]


def without_marks(text: str) -> Marked:
    """Takes the marks out of a text."""
    parts: list[str] = []
    marks: list[tuple[int, str]] = []
    size = end = 0
    for found in _MARK.finditer(text):
        parts.append(text[end : found.start()])
        size += len(parts[-1])
        marks.append((size, found.group(1)))
        end = found.end()
    return Marked("".join([*parts, text[end:]]), tuple(marks))
