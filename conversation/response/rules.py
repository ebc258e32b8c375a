"""The embedded responder: a few rules, which say that they are rules."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime

from conversation.message import Message
from conversation.response.responder import Piece, TextPiece, Tool

_LONGEST_CHARS = 200
# What was heard, and what is said to it; {1} is what the pattern found, {time} and {date} are the server's.
_RULES = (
    (r"\b(?:repeat after me|say)\b[\s,:]*(\S.*)", "{1}"),
    (r"\bwhat(?:'s|\s+is)?\s+(?:the\s+)?time\b|\bwhat time\b", "It is {time} on this server."),
    (r"\bwhat(?:'s|\s+is)?\s+(?:the\s+)?(?:day|date)\b|\bwhat (?:day|date)\b", "Today is {date}."),
    (r"\bwho are you\b|\byour name\b", "I am a digital human. My answers are rules, and not a language model."),
    (
        r"\bwhat can you do\b|\bhelp\b",
        "You can interrupt me, ask me for the time or the date, or tell me to say something. "
        "I answer by rules: for more, connect a language model.",
    ),
    (r"\b(?:stop|be quiet)\b", ""),
    (r"\b(?:thank you|thanks)\b", "You are welcome."),
    (r"\b(?:bye|goodbye)\b", "Goodbye!"),
    (
        r"\b(?:hello|hi|good (?:morning|afternoon|evening))\b",
        "Hello! I answer by simple rules until a language model is connected.",
    ),
)
_NO_RULE = "I heard: {1}. I have no rule for that. Connect a language model for real answers."


class RuleResponder:
    """Answers the last message by the first rule that fits."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    async def run(self) -> None:
        """It needs nothing."""
        await asyncio.get_running_loop().create_future()

    async def answer(self, history: Sequence[Message], tools: Sequence[Tool] = ()) -> AsyncGenerator[Piece, None]:
        """One piece, or none where the rule is to be quiet; rules call no tools."""
        if text := self._said(history[-1].text):
            yield TextPiece(text)

    def _said(self, heard: str) -> str:
        now = self._now()
        for pattern, answer in _RULES:
            if (found := re.search(pattern, heard, re.IGNORECASE)) is not None:
                return self._filled(answer, found.group(1) if found.re.groups else "", now)
        return self._filled(_NO_RULE, heard.strip(" .?!"), now)

    def _filled(self, answer: str, found: str, now: datetime) -> str:
        time, date = f"{now:%H:%M}", f"{now:%A, %B} {now.day}"
        return answer.replace("{time}", time).replace("{date}", date).replace("{1}", found[:_LONGEST_CHARS])
