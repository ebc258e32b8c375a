"""What a responder is: the history in, pieces of an answer out as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from conversation.message import Message


class ResponseError(RuntimeError):
    """There is no answer, or no more of it; `code` is stable, `message` says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


AWAY = "responder_unavailable"
"""The code of a responder that can't be reached, is too slow, or fails: it may work later."""
BUSY = "responder_busy"
"""The code of one that has too much to do, or whose quota is used up."""
REFUSED = "responder_refused"
"""The code of one that refuses this history, or the server's key."""
BROKEN_OFF = "answer_broken_off"
"""The code of an answer that ends before its end."""
GARBAGE = "answer_unreadable"
"""The code of an answer that is no stream of chat completions."""
ENDLESS = "answer_endless"
"""The code of an answer that doesn't end."""


@dataclass(frozen=True)
class TextPiece:
    """The next characters of the answer, cut anywhere."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """The responder wants a tool called; `arguments` is JSON as it wrote it, which may be wrong."""

    id: str
    name: str
    arguments: str


Piece = TextPiece | ToolCall
Tool = dict[str, Any]
"""As in chat completions: `{"type": "function", "function": {…}}`; passed through."""


class Responder(Protocol):
    """Answers."""

    def answer(self, history: Sequence[Message], tools: Sequence[Tool] = ()) -> AsyncGenerator[Piece, None]:
        """The answer to the last message; close it (`aclosing`), which ends the work. Raises ResponseError."""
        ...

    async def run(self) -> None:
        """Keeps running what it needs; runs for as long as it is used, until it is cancelled."""
        ...
