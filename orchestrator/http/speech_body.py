"""`/v1/channels/{id}/speech` as a request: the body is spoken while it arrives, as from a growing file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.message import Message
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from conversation.synthesis.synthesiser import AWAY, FAILED
from orchestrator.http.errors import ApiError
from orchestrator.http.live_speech import LiveSpeech
from orchestrator.http.operations import Answer, operation
from orchestrator.http.request_models import SpeechQuery
from orchestrator.http.response_models import AcceptedJson
from orchestrator.http.segment import LOST
from orchestrator.http.task_routes import require_ready, unknown_channel
from orchestrator.http.unread import read_rest, refused
from orchestrator.orchestrator import Orchestrator
from orchestrator.tasks.file_name import shown_name
from orchestrator.tasks.task import Failure, Task
from speech.audio.errors import AudioError, EmptyAudio
from speech.audio.live_container import ContainerSource
from speech.audio.live_pcm import PcmSource
from speech.audio.live_source import LiveSource
from speech.log import SoundFrames
from speech.source import SpeechSource

_PCM_TYPE = "audio/l16"
_UNREAD_BYTES = 1_000_000
_IDLE = "upload_stalled"
_STATUSES = {
    _IDLE: HTTPStatus.REQUEST_TIMEOUT,
    "audio_too_long": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "stopping": HTTPStatus.SERVICE_UNAVAILABLE,
    "disk_full": HTTPStatus.INSUFFICIENT_STORAGE,
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "speech_unwritable": HTTPStatus.INTERNAL_SERVER_ERROR,
    AWAY: HTTPStatus.SERVICE_UNAVAILABLE,
    FAILED: HTTPStatus.BAD_GATEWAY,
}


@operation(
    "Say a speech while it arrives",
    Answer("All of it has arrived, and the task is said", AcceptedJson),
    *(404, 408, 413, 415, 422, 503, 507),
    query=SpeechQuery,
    media="*/*",
)
async def speak_body(request: Request) -> Response:
    """Say the body: PCM of the type `audio/L16;rate=…;channels=…`, else a container that can be read from a pipe."""
    try:
        speech = await _sound(request)
    except (ApiError, AudioError) as error:
        raise await refused(request, error, _UNREAD_BYTES) from None
    body: AcceptedJson = {"status": "processing_started", "task_id": speech.task.id}
    answer = JSONResponse(body, headers={"Location": f"/v1/tasks/{speech.task.id}"})
    if not await read_rest(request, _UNREAD_BYTES):  # the task was over before its body
        answer.headers["Connection"] = "close"
    return answer


async def _sound(request: Request) -> LiveSpeech:
    orchestrator: Orchestrator = request.app.state.orchestrator
    require_channel(request)
    source = _source(request, orchestrator.settings.live_speech_limit_s)
    fields = {name: text for name, text in request.query_params.items() if name in SpeechQuery.model_fields}
    name = shown_name(fields.pop("name", ""))
    return await spoken(request, source, fields, name, SpeechSource.STREAM)


async def spoken(
    request: Request, source: LiveSource, fields: dict[str, str], name: str | None, kind: SpeechSource
) -> LiveSpeech:
    """Say the body while it arrives, up to its end, with the fields of an upload's form.

    Raises ApiError, ClientDisconnect, and what the source does before its first frame.
    """
    orchestrator: Orchestrator = request.app.state.orchestrator
    channel_id: str = request.path_params["channel_id"]
    body = _Body(request, orchestrator.settings.live_idle_limit_s, orchestrator.stopping)
    frames = source.frames(body.blocks())
    try:
        first = await anext(frames, None)  # what is no sound is refused, and never a task
        if first is None:
            body.raise_fault()
            raise EmptyAudio("The body is empty. Send some speech.")
        speech = await LiveSpeech.begin(orchestrator, channel_id, fields, name, source, kind)
        following = asyncio.create_task(speech.follow(_nothing))
        try:
            failure = await speech.receive(joined(first, frames), lambda: body.fault)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    finally:
        await frames.aclose()
    body.raise_fault()
    if failure is not None:
        status = _STATUSES.get(failure.code, HTTPStatus.UNPROCESSABLE_ENTITY)
        raise ApiError(status, failure.code, failure.message)
    return speech


def require_channel(request: Request) -> None:
    """Raises ApiError where the channel that the path names can't take a speech now."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    channel_id: str = request.path_params["channel_id"]
    require_ready(orchestrator)
    if channel_id not in orchestrator.channels:
        raise unknown_channel(channel_id, orchestrator)


class _Body:
    """The request's body; its end by a fault is an end, so that what came before is heard whole."""

    def __init__(self, request: Request, idle_limit_s: float, stopping: asyncio.Event) -> None:
        self.fault: Failure | None = None
        self._request = request
        self._idle_limit_s = idle_limit_s
        self._stopping = stopping

    async def blocks(self) -> AsyncIterator[bytes]:
        stream = self._request.stream()
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            while True:
                reading = asyncio.ensure_future(anext(stream, None))
                try:
                    await asyncio.wait(
                        {reading, stopping}, timeout=self._idle_limit_s, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    if not reading.done():
                        reading.cancel()
                        await asyncio.wait({reading})
                if (block := self._read(reading)) is None:
                    return
                yield block
        finally:
            stopping.cancel()

    def _read(self, reading: asyncio.Future[bytes | None]) -> bytes | None:
        """The next block; None at the end, and where it ends by a fault."""
        if reading.cancelled():
            stops = self._stopping.is_set()
            idle = Failure(_IDLE, f"Nothing came for {self._idle_limit_s:g} s. Send the speech without pauses.")
            self.fault = Failure("stopping", "The server is stopping. It says what it has received.") if stops else idle
            return None
        try:
            return reading.result()
        except ClientDisconnect:
            self.fault = LOST
            return None

    def raise_fault(self) -> None:
        """Raises ApiError or ClientDisconnect for a body that wasn't sent to its end."""
        if self.fault is LOST:
            raise ClientDisconnect
        if self.fault is not None:
            raise ApiError(_STATUSES[self.fault.code], self.fault.code, self.fault.message)


def _source(request: Request, longest_s: float) -> LiveSource:
    """Raises ApiError for PCM that can't be."""
    declared = Message()
    declared["Content-Type"] = request.headers.get("content-type", "application/octet-stream")
    if declared.get_content_type() == "multipart/form-data":
        message = "A form is for /v1/tasks; here the body is the sound itself: curl -T speech.wav"
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_sound", message)
    if declared.get_content_type() != _PCM_TYPE:
        return ContainerSource(longest_s)
    try:
        rate_hz, channels = (int(str(declared.get_param(name, default))) for name, default in
                             (("rate", ""), ("channels", "1")))  # fmt: skip
        return PcmSource(rate_hz, channels, str(declared.get_param("endianness", "")) == "big-endian")
    except ValueError:
        message = "Declare PCM as audio/L16;rate=24000;channels=1, with a rate from 8000 to 48000 and 1 or 2 channels."
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_pcm_type", message) from None


async def joined(first: SoundFrames, rest: AsyncIterator[SoundFrames]) -> AsyncIterator[SoundFrames]:
    """The first frames, and those after them."""
    yield first
    async for each in rest:
        yield each


async def _nothing(task: Task) -> None:
    """Nobody is told of the task's progress; it only limits how far ahead the body is read."""
