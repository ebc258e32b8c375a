"""What happens in a conversation. `at_s` is when it is told: it never falls from one event to the next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """A part that may fail."""

    RECOGNISER = "recogniser"
    RESPONDER = "responder"


class SpeechEnd(StrEnum):
    """Why a speech ended."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True)
class TimePassed:
    """Nothing but time: to be told when the machine's `due_s` has come."""

    at_s: float


@dataclass(frozen=True)
class VoiceBegan:
    """Someone speaks, for `lasted_s` by now."""

    at_s: float
    lasted_s: float = 0.0


@dataclass(frozen=True)
class VoiceEnded:
    """Nobody has spoken for `silent_s`, after a voice of `lasted_s`."""

    at_s: float
    lasted_s: float
    silent_s: float = 0.0


@dataclass(frozen=True)
class Recognised:
    """The words in the sound of the turn, as far as it was asked for under this number; none: an empty text."""

    at_s: float
    turn: int
    request: int
    text: str


@dataclass(frozen=True)
class PauseJudged:
    """A turn detector heard in the sound of that request whether the person has finished."""

    at_s: float
    turn: int
    request: int
    is_finished: bool


@dataclass(frozen=True)
class Typed:
    """A turn that is text."""

    at_s: float
    text: str


@dataclass(frozen=True)
class Remarked:
    """The avatar has something to say that nobody asked for, as a greeting; not said where anything else goes on."""

    at_s: float
    text: str


@dataclass(frozen=True)
class AnswerPiece:
    """The next piece of the answer, cut anywhere."""

    at_s: float
    turn: int
    text: str


@dataclass(frozen=True)
class AnswerEnded:
    """No further piece comes."""

    at_s: float
    turn: int


@dataclass(frozen=True)
class PartFailed:
    """A part can't do what it was asked for in this turn; `request` is that of a recognition, else 0."""

    at_s: float
    part: Part
    turn: int
    code: str
    message: str
    request: int = 0


@dataclass(frozen=True)
class SentencePlaced:
    """Sentence `index` of a speech was synthesised: it sounds from `start_s` to `end_s` of that speech."""

    at_s: float
    speech: int
    index: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class PositionHeard:
    """So much of a speech has been played."""

    at_s: float
    speech: int
    heard_s: float


@dataclass(frozen=True)
class SpeechOver:
    """The end of a speech, once for each; `heard_s` of it was played."""

    at_s: float
    speech: int
    heard_s: float
    end: SpeechEnd
    message: str = ""


@dataclass(frozen=True)
class Tapped:
    """The person ends the answer without a word."""

    at_s: float


@dataclass(frozen=True)
class Released:
    """The person says that the utterance is over, as by push-to-talk; nothing is waited for."""

    at_s: float


@dataclass(frozen=True)
class LimitReached:
    """A limit that isn't the machine's own, as that of tokens, ends the conversation."""

    at_s: float
    code: str
    message: str


Event = (
    TimePassed
    | VoiceBegan
    | VoiceEnded
    | Recognised
    | PauseJudged
    | Typed
    | Remarked
    | AnswerPiece
    | AnswerEnded
    | PartFailed
    | SentencePlaced
    | PositionHeard
    | SpeechOver
    | Tapped
    | Released
    | LimitReached
)
