"""What a Realtime server tells, as far as something is to be done then, by the names in OpenAI's reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conversation.realtime.messages import Sent, samples_of
from conversation.response.responder import ToolCall


@dataclass(frozen=True)
class Committed:
    """An utterance has a name there."""

    item: str


@dataclass(frozen=True)
class Understood:
    """Words of an utterance: a further piece, or all of them."""

    item: str
    text: str
    is_whole: bool


@dataclass(frozen=True)
class AnswerBegan:
    """An answer is made from now on; `turn` is what we had said of it, None where an answer is not ours."""

    response: str
    turn: str | None


@dataclass(frozen=True)
class AnswerSound:
    """The next samples of an answer, mono int16 at 24 kHz, which belong to a piece of an item."""

    response: str
    item: str
    content: int
    samples: NDArray[np.int16]


@dataclass(frozen=True)
class AnswerWords:
    """The next words of an answer's sound."""

    response: str
    item: str
    content: int
    text: str


@dataclass(frozen=True)
class AnswerCall:
    """The model asks for a tool."""

    response: str
    call: ToolCall


@dataclass(frozen=True)
class AnswerOver:
    """An answer has ended; `reason` says why where it did not end well."""

    response: str
    is_well: bool
    reason: str


@dataclass(frozen=True)
class AnswerGoesOn:
    """Something of an answer that shows that the server works on it."""

    response: str


@dataclass(frozen=True)
class Failed:
    """The server could not do what it was asked for."""

    code: str | None
    message: str


OfAnswer = AnswerSound | AnswerWords | AnswerCall | AnswerOver | AnswerGoesOn
ServerEvent = Committed | Understood | AnswerBegan | OfAnswer | Failed


def read(event: Sent) -> ServerEvent | None:
    """What an event says; None for one of which nothing follows.

    Raises ValueError where what it must have is missing or is something else.
    """
    try:
        match event.get("type"):
            case "input_audio_buffer.committed":
                return Committed(str(event["item_id"]))
            case "conversation.item.input_audio_transcription.delta":
                return Understood(str(event["item_id"]), str(event["delta"]), is_whole=False)
            case "conversation.item.input_audio_transcription.completed":
                return Understood(str(event["item_id"]), str(event["transcript"]).strip(), is_whole=True)
            case "response.created":
                turn = (event["response"].get("metadata") or {}).get("turn")
                return AnswerBegan(str(event["response"]["id"]), None if turn is None else str(turn))
            case "error":
                error = event["error"]
                return Failed(error.get("code"), str(error.get("message") or error.get("type"))[:200])
            case str(kind) if kind.startswith("response."):
                return _of_answer(kind, event)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it has no usable {error}") from None
    return None


def _of_answer(kind: str, event: Sent) -> OfAnswer:
    response = str(event.get("response_id") or (event.get("response") or {}).get("id"))
    match kind:
        case "response.output_audio.delta":
            return AnswerSound(response, str(event["item_id"]), int(event["content_index"]), samples_of(event))
        case "response.output_audio_transcript.delta":
            return AnswerWords(response, str(event["item_id"]), int(event["content_index"]), str(event["delta"]))
        case "response.function_call_arguments.done":
            call = ToolCall(str(event["call_id"]), str(event.get("name", "")), str(event["arguments"]))
            return AnswerCall(response, call)
        case "response.done":
            return _over(response, event["response"])
        case _:
            return AnswerGoesOn(response)


def _over(name: str, response: Sent) -> AnswerOver:
    status, details = response.get("status"), response.get("status_details") or {}
    reason = (details.get("error") or {}).get("message") or details.get("reason") or status
    return AnswerOver(name, status in ("completed", "cancelled"), str(reason)[:200])
