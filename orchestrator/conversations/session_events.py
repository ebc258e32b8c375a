"""What a conversation tells whoever holds it, whichever way that speaks to its client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from conversation.response.responder import ToolCall
from conversation.turn.actions import TellFault, TellHeard, TellSentence, TellState, TellTranscript


class Ending(StrEnum):
    """Why a conversation is over."""

    LEFT = "left"
    """Whoever held it is gone, or has enough."""
    STOPPING = "stopping"
    UNUSED = "unused"
    LIMIT = "limit"
    CHANNEL_GONE = "channel_gone"
    FAILED = "failed"


@dataclass(frozen=True)
class Ready:
    """A dialogue begins; so many messages of an earlier one are remembered."""

    messages: int
    greeting: str
    """What is said first; empty where there is nothing, or something is remembered."""


@dataclass(frozen=True)
class Called:
    """The language model wants a tool called in this turn."""

    turn: int
    call: ToolCall


@dataclass(frozen=True)
class TurnPassed:
    """The first sound of a turn's answer came out of the encoder: seconds to each stage since its question ended."""

    turn: int
    typed: bool
    stages_s: Mapping[str, float]


@dataclass(frozen=True)
class Over:
    """The conversation is over, and nothing more is told."""

    ending: Ending


SessionEvent = (
    Ready | TellState | TellTranscript | TellSentence | TellHeard | TellFault | Called | TurnPassed
)  # fmt: skip
