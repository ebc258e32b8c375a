"""A text, or a stream of pieces of one, cut into sentences as soon as each of them is certain."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass

from sentencex import segment

from conversation.marks import Mark, Marked, without_marks
from conversation.sayable import sayable

LONGEST_CHARS = 240
"""Of a sentence that is synthesised at once; a longer one is cut at a clause, else at a space."""
SETTLED_S = 0.6
"""Without another piece for so long, what ends like a sentence is one."""

_SENTENCE_PAUSE_S, _CLAUSE_PAUSE_S, _PARAGRAPH_PAUSE_S = 0.35, 0.12, 0.6
# An empty line, and lines that markup begins: items of lists, headings, quotations, rows of tables.
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*|\n(?=[ \t]*(?:[-*+•>|]|#{1,6}|\d{1,3}[.)])[ \t])|(?<=\n)(?=```)")
_HEADING = re.compile(r"\s*#{1,6}[ \t][^\n]*\n")
_CLAUSE = re.compile(r"[,;:—–](?=\s)|[\uff0c\uff1b\uff1a\u3001]")  # full-width ones need no space
# Cut no earlier than here for a clause: many short pieces sound worse than one word cut from its clause.
_SHORTEST_SHARE = 0.3
_MOST_MARKS = 8  # of one sentence; each that is shown, or can't be, is told to whoever listens
_SEEN_CHARS = 4 * LONGEST_CHARS  # of a text at once: it is cut from its beginning, however much of it has come


@dataclass(frozen=True)
class Sentence:
    """What is synthesised at once, and the seconds of silence behind it where another one follows.

    The text is empty where nothing but marks is left at the end.
    """

    text: str
    pause_s: float
    marks: tuple[Mark, ...] = ()


class SentenceCutter:
    """Takes pieces of a text, cut anywhere; each method returns the sentences that are certain by then."""

    def __init__(self, language: str = "en", longest: int = LONGEST_CHARS, marks: bool = False) -> None:
        """`language` is that of the text, as `en` or `zh-CN`: what is an abbreviation depends on it.

        With `marks`, `[name]` is no text but a mark; without, it is said as it was before there were any. A sentence
        has eight marks at most, and further ones are left out.
        """
        self._language = language.partition("-")[0].lower() or "en"
        self._longest = longest
        self._text = ""
        self._with_marks = marks
        self._carried: tuple[Mark, ...] = ()  # marks of which no word has come yet

    def push(self, piece: str) -> list[Sentence]:
        """Another piece. A sentence is certain once something follows it, or it is too long."""
        self._text += piece.replace("\r\n", "\n").replace("\r", "\n")
        return list(self._certain())

    def settle(self) -> list[Sentence]:
        """Nothing came for a while: the rest is a sentence if another one could follow it."""
        rest = self._text.rstrip()
        if rest and len(segment(self._language, f"{rest} So")) > len(segment(self._language, rest)):
            return self.finish()
        return []

    def finish(self) -> list[Sentence]:
        """Nothing follows."""
        found = [*self._certain(), *self._bounded(self._text, _SENTENCE_PAUSE_S)]
        self._text = ""
        if self._carried:
            found.append(Sentence("", 0.0, self._carried))
            self._carried = ()
        return found

    def _certain(self) -> Iterator[Sentence]:
        while True:
            size, pause_s = self._first()
            if not size:
                return
            sentence, self._text = self._text[:size], self._text[size:]
            yield from self._bounded(sentence, pause_s)

    def _first(self) -> tuple[int, float]:
        """The length of the first sentence, 0 while it isn't certain, and the pause behind it."""
        seen = self._text[:_SEEN_CHARS]
        heading = _HEADING.match(seen)
        if heading is not None:
            return heading.end(), _PARAGRAPH_PAUSE_S
        paragraph = _PARAGRAPH.search(seen)
        if paragraph is not None:
            size = self._sentence_size(seen[: paragraph.start()])
            ends_it = size == 0 or size == paragraph.start()
            # An empty paragraph is passed over; something must be taken, or this would never end.
            return (max(1, paragraph.end()), _PARAGRAPH_PAUSE_S) if ends_it else (size, _SENTENCE_PAUSE_S)
        size = self._sentence_size(seen)
        if seen[size:].strip():
            return size, _SENTENCE_PAUSE_S
        if len(seen) > self._longest:
            return self._clause_size(seen), _CLAUSE_PAUSE_S
        return 0, 0.0

    def _sentence_size(self, text: str) -> int:
        """Characters up to the first end of a sentence, all of them where there is none."""
        size = 0
        for part in segment(self._language, text):
            size += len(part)
            if any(char.isalpha() for char in text[:size]):  # "1." of a list is no sentence of its own
                break
        return size

    def _bounded(self, sentence: str, pause_s: float) -> Iterator[Sentence]:
        while len(sentence.strip()) > self._longest:
            size = self._clause_size(sentence)
            yield from self._said(sentence[:size], _CLAUSE_PAUSE_S)
            sentence = sentence[size:]
        yield from self._said(sentence, pause_s)

    def _said(self, part: str, pause_s: float) -> Iterator[Sentence]:
        """What of it can be said, where that is anything."""
        marked = without_marks(part) if self._with_marks else Marked(part, ())
        text = sayable(marked.text)
        if not text:
            self._carried = (*self._carried, *(Mark(name, 0.0) for _, name in marked.marks))[:_MOST_MARKS]
            return
        places = (
            (1 - len(sayable(marked.text[place:])) / len(text), name) for place, name in marked.marks[:_MOST_MARKS]
        )
        marks = tuple(Mark(name, max(0.0, share)) for share, name in places)
        yield Sentence(text, pause_s, (self._carried + marks)[:_MOST_MARKS])
        self._carried = ()

    def _clause_size(self, text: str) -> int:
        """Where a text that is too long is cut: behind the last clause that fits, else at a space, else anywhere."""
        head, least = text[: self._longest], int(self._longest * _SHORTEST_SHARE)
        ends = [found.end() for found in _CLAUSE.finditer(head) if found.end() >= least]
        return ends[-1] if ends else (head.rfind(" ", least) + 1 or len(head))


async def sentences(
    pieces: AsyncIterator[str], language: str, settled_s: float = SETTLED_S, marks: bool = False
) -> AsyncGenerator[Sentence, None]:
    """The sentences of a stream of text, each as soon as it is certain; close it (`aclosing`)."""
    cutter = SentenceCutter(language, marks=marks)
    while True:
        coming = asyncio.ensure_future(anext(pieces, None))
        try:
            await asyncio.wait({coming}, timeout=settled_s)
            if not coming.done():
                for sentence in cutter.settle():
                    yield sentence
            piece = await coming
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        if piece is None:
            break
        for first in range(0, len(piece), _SEEN_CHARS):
            for sentence in cutter.push(piece[first : first + _SEEN_CHARS]):
                yield sentence
            await asyncio.sleep(0)  # a long piece must not hold up the event loop
    for sentence in cutter.finish():
        yield sentence
