"""The answer of a Realtime server to one turn: its sound, its words, and how much of both was heard."""

from __future__ import annotations

from dataclasses import dataclass, field

from conversation.realtime.messages import RATE_HZ, Sent, truncate
from conversation.sentences import SentenceCutter
from conversation.turn.events import SpeechEnd
from conversation.turn.words import heard_words


@dataclass
class _Item:
    """A piece of the server's conversation: so many samples of the speech, and their words."""

    id: str
    content: int
    samples: int = 0
    text: str = ""


@dataclass
class RealtimeAnswer:
    """`response` is the server's own name of it, None until it is known."""

    turn: int
    asked_s: float
    cutter: SentenceCutter
    is_sent: bool = False
    """The server was asked; it isn't while an answer that was cancelled goes on there."""
    is_asking: bool = True
    is_dropped: bool = False
    speech: int | None = None
    """The speech that isn't over."""
    response: str | None = None
    latest_s: float = 0.0
    cancelled_s: float = 0.0
    position_s: float = 0.0
    heard: str = ""
    _items: list[_Item] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.speech is None and (self.is_dropped or not self.is_asking)

    def patient_until_s(self, first_s: float, next_s: float) -> float:
        """Until when it must begin, or go on."""
        return self.asked_s + first_s if self.speech is None else self.latest_s + next_s

    def item(self, id_: str, content: int) -> _Item:
        """The item of that name, which may be a new one."""
        for item in self._items:
            if (item.id, item.content) == (id_, content):
                return item
        self._items.append(_Item(id_, content))
        return self._items[-1]

    def speech_over(self, heard_s: float, end: SpeechEnd) -> list[Sent]:
        """The speech ended; returns what tells the server which of its sound was not heard."""
        self.speech = None
        left = round(heard_s * RATE_HZ)
        heard: list[str] = []
        unheard: list[Sent] = []
        for item in self._items:
            samples = item.samples if end is SpeechEnd.COMPLETED else max(0, min(item.samples, left))
            left -= item.samples
            share = samples / item.samples if item.samples else float(end is SpeechEnd.COMPLETED)
            words, _ = heard_words(item.text.strip(), share)
            heard += [words.strip()] if words.strip() else []
            if samples < item.samples:
                unheard.append(truncate(item.id, item.content, 1000 * samples // RATE_HZ))
        self.heard = " ".join(heard)
        return unheard
