"""What was said in a conversation, and by whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Who said it; SYSTEM is the prompt, which nobody hears. Named as in chat completions."""

    SYSTEM = "system"
    PERSON = "user"
    AVATAR = "assistant"


@dataclass(frozen=True)
class Message:
    """A piece of the history."""

    role: Role
    text: str


def joined(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The messages, those that follow one of the same role joined to it: many models refuse two of one in a row."""
    found: list[Message] = []
    for message in messages:
        if found and found[-1].role is message.role:
            found[-1] = Message(message.role, f"{found[-1].text} {message.text}")
        else:
            found.append(message)
    return tuple(found)


def whole(text: str) -> str:
    """The text with a question mark for each half of a character (surrogate), which JSON can hold and UTF-8 can't."""
    return text.encode("utf-8", "replace").decode()


def trimmed(messages: Sequence[Message], most_chars: int) -> tuple[Message, ...]:
    """The prompt, and as many of the latest messages as have `most_chars` characters together; always the last one.

    What is left out ends before a message of the person: many models want the person to begin.
    """
    prompt = [message for message in messages if message.role is Role.SYSTEM]
    said = [message for message in messages if message.role is not Role.SYSTEM]
    kept = len(said)
    while kept and (kept == len(said) or most_chars >= len(said[kept - 1].text)):
        kept -= 1
        most_chars -= len(said[kept].text)
    while 0 < kept < len(said) - 1 and said[kept].role is not Role.PERSON:
        kept += 1
    return (*prompt, *said[kept:])
