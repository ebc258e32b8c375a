"""The messages of the socket for live speech, both ways: one JSON object each, beside the binary ones with sound."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from conversation.synthesis.synthesiser import FASTEST, SLOWEST
from orchestrator.fields import VoiceName
from speech.audio.resampling import HIGHEST_RATE_HZ, LOWEST_RATE_HZ, MOST_CHANNELS

LONGEST_PIECE = 20_000
"""Characters of one message with text."""


class Format(StrEnum):
    """What the messages of a segment hold together: PCM of 16 bits, little-endian, a container with Opus, or text."""

    S16LE = "s16le"
    WEBM = "webm"
    OGG = "ogg"
    TEXT = "text"


class EndReason(StrEnum):
    """Why a segment is over."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    SOURCE_LOST = "source_lost"
    FAILED = "failed"


class _Received(BaseModel):
    model_config = ConfigDict(strict=True)


class Start(_Received):
    """A segment begins; what is left out beside `sample_rate` is as for uploads.

    A microphone's speech that fell behind leaves out parts of its pauses; of a stream every sample is said.
    """

    type: Literal["start"]
    sample_rate: int | None = Field(None, ge=LOWEST_RATE_HZ, le=HIGHEST_RATE_HZ)
    channels: int = Field(1, ge=1, le=MOST_CHANNELS)
    format: Annotated[Format, Field(strict=False)] = Format.S16LE
    source: Literal["stream", "microphone"] = "stream"
    voice: VoiceName | None = None
    rate: float | None = Field(None, ge=SLOWEST, le=FASTEST)
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None

    @model_validator(mode="after")
    def _pcm_has_a_rate(self) -> Start:
        if self.format is Format.S16LE and self.sample_rate is None:
            raise ValueError("sample_rate is missing: a segment of s16le needs it")
        return self


class Text(_Received):
    """The next piece of a segment of text, cut anywhere."""

    type: Literal["text"]
    text: str = Field(max_length=LONGEST_PIECE)


class Cue(_Received):
    """A motion begins with the sound that comes next, or soon after it."""

    type: Literal["cue"]
    motion: str = Field(max_length=64)


class End(_Received):
    """All of the segment was sent."""

    type: Literal["end"]


class Interrupt(_Received):
    """Cut short whatever of this socket's segments is said or waits."""

    type: Literal["interrupt"]


ClientMessage = Annotated[Start | Text | Cue | End | Interrupt, Field(discriminator="type")]
_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)


class Accepted(BaseModel):
    """The segment's task is stored and will be said; samples of a text are counted at its `sample_rate`."""

    type: Literal["accepted"] = "accepted"
    task_id: str
    sample_rate: int | None = None


class Started(BaseModel):
    """The segment is heard, from this sample on; again where its channel was restarted, and says it anew."""

    type: Literal["started"] = "started"
    task_id: str
    sample: int = Field(ge=0)


class Position(BaseModel):
    """So many of the segment's samples were heard by now."""

    type: Literal["position"] = "position"
    task_id: str
    sample: int = Field(ge=0)


class Ended(BaseModel):
    """The segment is over, and nothing of it follows; exactly one for each that was accepted."""

    type: Literal["ended"] = "ended"
    task_id: str
    heard_samples: int = Field(ge=0)
    reason: EndReason


class ErrorMessage(BaseModel):
    """What was wrong, and what to do; with the task where its segment ends by it."""

    type: Literal["error"] = "error"
    code: str
    message: str
    task_id: str | None = None


ServerMessage = Accepted | Started | Position | Ended | ErrorMessage


class BadMessage(ValueError):
    """A text that is no message; `code` is stable, the message says what is wrong with it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read_message(text: str) -> ClientMessage:
    """What a client says; raises BadMessage, with the code `bad_FIELD` for a `start` or a text that can't be."""
    try:
        message: ClientMessage = _CLIENT.validate_json(text)
    except (ValidationError, RecursionError) as error:
        raise _bad(text, error) from None
    return message


def written(message: ServerMessage) -> str:
    """The message as it is sent."""
    return message.model_dump_json(exclude_none=True)


def _bad(text: str, error: ValidationError | RecursionError) -> BadMessage:
    first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
    if first is None or first["loc"][:1] not in (("start",), ("text",)):
        examples = '{"type": "start", "sample_rate": 24000}, {"type": "text", "text": …}, {"type": "end"} or '
        examples += '{"type": "interrupt"}'
        return BadMessage(
            "bad_message", f"A text message must be {examples}, and is {text[:80]!r}. Send sound as binary."
        )
    if len(first["loc"]) == 1:
        return BadMessage("bad_sample_rate", "sample_rate is missing: a segment of s16le needs it.")
    name = str(first["loc"][1])
    return BadMessage(f"bad_{name}", f"{name} is {str(first['input'])[:40]!r}: {first['msg']}.")
