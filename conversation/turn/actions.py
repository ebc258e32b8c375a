"""What is to be done in a conversation, in the order given."""

from __future__ import annotations

from dataclasses import dataclass

from conversation.message import Message
from conversation.turn.state import TurnState


@dataclass(frozen=True)
class KeepSound:
    """Keep the sound from a little before the voice that began last."""

    turn: int


@dataclass(frozen=True)
class Recognise:
    """Recognise the sound kept so far. A request of a higher number makes this one needless."""

    turn: int
    request: int


@dataclass(frozen=True)
class DropSound:
    """The sound of the turn isn't needed any more, nor what is being recognised in it."""

    turn: int


@dataclass(frozen=True)
class Commit:
    """The person's turn is over, and this is what was said."""

    turn: int
    text: str


@dataclass(frozen=True)
class Ask:
    """Ask the responder for an answer to the history, whose last message is the person's."""

    turn: int
    history: tuple[Message, ...]


@dataclass(frozen=True)
class StopAsking:
    """Nobody needs the rest of the answer."""

    turn: int


@dataclass(frozen=True)
class Say:
    """Say a sentence: number `index` of a speech, which begins with its first one; then so much silence."""

    turn: int
    speech: int
    index: int
    text: str
    pause_s: float


@dataclass(frozen=True)
class EndSpeech:
    """No further sentence of the speech comes: it is over when it is played."""

    speech: int


@dataclass(frozen=True)
class CancelSpeech:
    """Let the speech fall silent at once, and tell how much of it was heard."""

    speech: int


@dataclass(frozen=True)
class TellState:
    """The state is another one."""

    state: TurnState


@dataclass(frozen=True)
class TellTranscript:
    """What was understood; it may change while it isn't `final`."""

    turn: int
    text: str
    final: bool


@dataclass(frozen=True)
class TellSentence:
    """A sentence of the answer that will be said."""

    turn: int
    text: str


@dataclass(frozen=True)
class TellHeard:
    """What of the answer was heard, which is what stays of it in the history; once for each turn."""

    turn: int
    text: str


@dataclass(frozen=True)
class TellFault:
    """Something failed, or a limit is reached."""

    code: str
    message: str


Action = (
    KeepSound
    | Recognise
    | DropSound
    | Commit
    | Ask
    | StopAsking
    | Say
    | EndSpeech
    | CancelSpeech
    | TellState
    | TellTranscript
    | TellSentence
    | TellHeard
    | TellFault
)
