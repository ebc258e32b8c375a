"""The messages of a conversation's socket, both ways: one JSON object each, beside the binary ones with sound."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from conversation.turn.state import TurnState
from orchestrator.http.speech_messages import BadMessage
from speech.audio.resampling import HIGHEST_RATE_HZ, LOWEST_RATE_HZ, MOST_CHANNELS

LONGEST_TEXT = 4_000
"""Characters of a typed turn."""
MOST_TOOLS = 64


class Mode(StrEnum):
    """Who says that a turn is over: a pause, or the person, who lets go of a button."""

    OPEN = "open"
    PUSH = "push"


class EndReason(StrEnum):
    """Why the server ends a conversation."""

    STOPPING = "stopping"
    UNUSED = "unused"
    LIMIT = "limit"
    CHANNEL_GONE = "channel_gone"
    MISTAKES = "mistakes"
    FAILED = "failed"


class _Received(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Start(_Received):
    """The conversation begins. `text` has no sound: its turns are typed. `tools` are passed to the language model."""

    type: Literal["start"]
    format: Literal["s16le", "pcm_s16le", "text"] = "s16le"
    sample_rate: int | None = Field(None, ge=LOWEST_RATE_HZ, le=HIGHEST_RATE_HZ)
    channels: int = Field(1, ge=1, le=MOST_CHANNELS)
    mode: Annotated[Mode, Field(strict=False)] = Mode.OPEN
    tools: list[dict[str, Any]] = Field(default_factory=list, max_length=MOST_TOOLS)

    @model_validator(mode="after")
    def _sound_has_a_rate(self) -> Start:
        if self.format != "text" and self.sample_rate is None:
            raise ValueError("sample_rate is missing: sound needs it")
        return self


class Release(_Received):
    """The person lets go of the button: the utterance is over."""

    type: Literal["release"]


class Interrupt(_Received):
    """The avatar is to fall silent."""

    type: Literal["interrupt"]


class Text(_Received):
    """A typed turn; what is being said ends by it."""

    type: Literal["text"]
    text: str = Field(min_length=1, max_length=LONGEST_TEXT)


class Reset(_Received):
    """Forget what was said, and begin again."""

    type: Literal["reset"]


ClientMessage = Annotated[Start | Release | Interrupt | Text | Reset, Field(discriminator="type")]
_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)


class _Sent(BaseModel):
    model_config = ConfigDict(frozen=True)


class Ready(_Sent):
    """The conversation is held; `messages` of an earlier one are remembered. Again after a reset."""

    type: Literal["ready"] = "ready"
    channel: str
    language: str
    voice: str | None
    greeting: str | None
    messages: int = 0


class State(_Sent):
    """What the conversation does is something else now."""

    type: Literal["state"] = "state"
    state: TurnState


class Transcript(_Sent):
    """What the person said, as it was understood; it may change while it isn't final. Typed turns are told too."""

    type: Literal["transcript"] = "transcript"
    turn: int
    text: str
    final: bool


class Sentence(_Sent):
    """A sentence that the avatar is about to say."""

    type: Literal["sentence"] = "sentence"
    turn: int
    text: str


class Heard(_Sent):
    """The answer is over, and this much of it was heard; once for each turn that was answered, empty if none was."""

    type: Literal["heard"] = "heard"
    turn: int
    text: str


class ToolCall(_Sent):
    """The language model wants a tool called; `arguments` is JSON as it wrote it, which may be wrong."""

    type: Literal["tool_call"] = "tool_call"
    turn: int
    id: str
    name: str
    arguments: str


class Ledger(_Sent):
    """Milliseconds from the end of the person's speech to each stage that the turn reached."""

    type: Literal["ledger"] = "ledger"
    turn: int
    stages: dict[str, float]


class ErrorMessage(_Sent):
    """What went wrong, and what to do; the conversation goes on unless `ended` follows."""

    type: Literal["error"] = "error"
    code: str
    message: str


class Ended(_Sent):
    """The conversation is over, and the connection is closed."""

    type: Literal["ended"] = "ended"
    reason: EndReason


ServerMessage = Ready | State | Transcript | Sentence | Heard | ToolCall | Ledger | ErrorMessage | Ended


def read_message(text: str) -> ClientMessage:
    """What a client says; raises BadMessage, with the code `bad_FIELD` for a field that can't be."""
    try:
        message: ClientMessage = _CLIENT.validate_json(text)
    except (ValidationError, RecursionError) as error:
        raise _bad(text, error) from None
    return message


def written(message: ServerMessage) -> str:
    """The message as it is sent."""
    return message.model_dump_json()


def _bad(text: str, error: ValidationError | RecursionError) -> BadMessage:
    first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
    if first is None or first["loc"][:1] not in (("start",), ("text",)):
        kinds = "start, release, interrupt, text or reset"
        return BadMessage(
            "bad_message", f"A text message must be JSON whose type is {kinds}, and is {text[:80]!r}. "
            "Send sound as binary.",
        )  # fmt: skip
    if len(first["loc"]) == 1:
        return BadMessage("bad_sample_rate", 'sample_rate is missing: sound needs it, and "format": "text" does not.')
    name = str(first["loc"][1])
    return BadMessage(f"bad_{name}", f"{name} is {str(first['input'])[:40]!r}: {first['msg']}.")
