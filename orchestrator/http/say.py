"""`/v1/channels/{id}/say`: a text is said, each of its sentences while those after it are synthesised."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from http import HTTPStatus
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from conversation.synthesis.synthesiser import SynthesisError
from orchestrator.http.arriving import small_json
from orchestrator.http.errors import ApiError
from orchestrator.http.hang_up import while_connected
from orchestrator.http.live_speech import LiveSpeech
from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked
from orchestrator.http.request_models import SayBody, SayFields, SayQuery
from orchestrator.http.response_models import AcceptedJson
from orchestrator.http.speech_body import joined, require_channel, spoken
from orchestrator.http.text_source import TextSource, text_source
from orchestrator.http.unread import refused
from orchestrator.orchestrator import Orchestrator
from speech.log import SoundFrames
from speech.source import SpeechSource

_STREAM = "text/plain"
_UNREAD_BYTES = 1_000_000
_BYTES_OF_FIELDS = 1000
_BYTES_OF_CHAR = 12  # one beyond the basic plane, as two escapes

Model = TypeVar("Model", bound=BaseModel)


@operation(
    "Say a text",
    Answer("The first sentence is synthesised, and the task will be said", AcceptedJson),
    *(400, 404, 408, 413, 422, 502, 503, 507),
    status=202,
    body=SayBody,
    query=SayQuery,
    media=_STREAM,
)
async def say(request: Request) -> Response:
    """Say the text of a JSON body, or a body that is text itself while it arrives."""
    try:
        require_channel(request)
        declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        speech = await (_streamed(request) if declared == _STREAM else _begun(request))
    except (ApiError, SynthesisError) as error:
        raise await refused(request, error, _UNREAD_BYTES) from None
    body: AcceptedJson = {"status": "processing_started", "task_id": speech.task.id}
    return JSONResponse(body, HTTPStatus.ACCEPTED, headers={"Location": f"/v1/tasks/{speech.task.id}"})


async def _streamed(request: Request) -> LiveSpeech:
    """The speech of a text that arrives in pieces, once all of it is there."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    asked = checked(SayQuery, request.query_params)
    source = text_source(orchestrator, request.path_params["channel_id"], asked.voice, asked.rate)
    return await spoken(request, source, parameters(asked), None, SpeechSource.TEXT)


async def _begun(request: Request) -> LiveSpeech:
    """The speech of a text that came as a whole."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    channel_id: str = request.path_params["channel_id"]
    arrived_at = orchestrator.clock()
    body = await text_body(request, SayBody, "text")
    source = text_source(orchestrator, channel_id, body.voice, body.rate)
    return await begun(request, channel_id, body.text, source, parameters(body), arrived_at)


async def begun(
    request: Request,
    channel_id: str,
    text: str,
    source: TextSource,
    fields: dict[str, str],
    arrived_at: float,
) -> LiveSpeech:
    """The speech of a text whose first sound is there; the rest comes by itself.

    Raises ApiError, SynthesisError, and ClientDisconnect where the client hangs up before: what can't be said is
    refused, and never a task, nor is what nobody waits for.
    """
    orchestrator: Orchestrator = request.app.state.orchestrator
    frames = source.frames(_whole(text))
    try:
        first = await while_connected(request, anext(frames))
        speech = await LiveSpeech.begin(orchestrator, channel_id, fields, None, source, SpeechSource.TEXT, arrived_at)
    except BaseException:
        await frames.aclose()
        raise
    orchestrator.arrivals.add(_received(speech, first, frames), f"say-{speech.task.id}")
    return speech


def parameters(asked: SayFields) -> dict[str, str]:
    """The fields of an upload's form that were asked for."""
    names = {"num_inference_steps", "guidance_scale", "seed"}
    return {name: str(value) for name, value in asked.model_dump(include=names, exclude_none=True).items()}


async def text_body(request: Request, model: type[Model], field: str) -> Model:
    """A JSON body of which one field is a text to be said; raises ApiError that names what is wrong with it."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    longest = orchestrator.settings.say_limit_chars
    too_long = f"A text may have {longest} characters (say_limit_chars): send it in parts, or as a stream."
    values = await small_json(request, _BYTES_OF_CHAR * longest + _BYTES_OF_FIELDS, too_long)
    if not isinstance(values, dict):
        raise ApiError(HTTPStatus.BAD_REQUEST, "broken_json", f'Send a JSON object: {{"{field}": "Hello."}}.')
    try:
        body = model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        shown = "" if first["type"] == "missing" else f" (it is {str(first['input'])[:40]!r})"
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, f"bad_{name}", f"{name}: {first['msg']}{shown}.") from None
    length = len(getattr(body, field))
    if length > longest:
        raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "text_too_long", f"This one has {length}. {too_long}")
    return body


async def _whole(text: str) -> AsyncIterator[bytes]:
    yield text.encode("utf-8", "surrogatepass")  # half a character is refused as any other bytes that are no text


async def _received(speech: LiveSpeech, first: SoundFrames, rest: AsyncGenerator[SoundFrames, None]) -> None:
    """Bring the whole text into its log, however far that is ahead: a restart says what is there."""
    try:
        await speech.receive(joined(first, rest), bounded=False)
    finally:
        await rest.aclose()
