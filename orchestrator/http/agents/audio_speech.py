"""`POST /v1/audio/speech` as OpenAI's clients call it: the channel says the text, and the answer is its sound."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import anyio
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from conversation.synthesis.synthesiser import FASTEST, SLOWEST, SynthesisError
from orchestrator.http.agents.audio_formats import MEDIA, EncodedSpeech, SpeechFormat
from orchestrator.http.errors import ApiError
from orchestrator.http.live_speech import LiveSpeech
from orchestrator.http.operations import Answer, operation
from orchestrator.http.say import begun, text_body
from orchestrator.http.task_routes import require_ready, unknown_channel
from orchestrator.http.text_source import text_source
from orchestrator.http.unread import refused
from orchestrator.orchestrator import Orchestrator
from orchestrator.tasks.task import TaskState
from speech.log import LogReader

_UNREAD_BYTES = 1_000_000
_PIECE_FRAMES = 25  # a second: a file begins before the last sentence is synthesised
_THEIR_MODELS = ("tts-", "gpt-")
# A client must name a voice, and many name one of these by default: they mean the channel's own.
_THEIR_VOICES = frozenset(
    ("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse")
)


class VoiceId(BaseModel):
    """A voice by its id."""

    id: str


class AudioSpeechBody(BaseModel):
    """What OpenAI's clients send; other fields, such as `instructions`, mean nothing here."""

    input: str
    model: str = Field("", description="the channel; a model of OpenAI's own means the settings' channel")
    voice: str | VoiceId | None = Field(None, description="a voice of OpenAI's own means the channel's")
    speed: Annotated[float, Field(ge=SLOWEST, le=FASTEST, allow_inf_nan=False)] = 1.0
    response_format: SpeechFormat = SpeechFormat.MP3
    stream_format: Literal["audio", "sse"] = "audio"


@operation(
    "Say a text, and answer with its sound (OpenAI's interface)",
    Answer("The sound, while it is synthesised", media="audio/*"),
    *(400, 404, 408, 413, 422, 502, 503, 507),
    body=AudioSpeechBody,
)
async def audio_speech(request: Request) -> Response:
    """Say the text on the channel of the path, else of the field `model`."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    arrived_at = orchestrator.clock()
    try:
        require_ready(orchestrator)
        body = await text_body(request, AudioSpeechBody, "input")
        channel_id = channel_of(orchestrator, request.path_params.get("channel_id"), body.model)
        source = text_source(orchestrator, channel_id, _voice(orchestrator, body.voice), body.speed)
        speech = await begun(request, channel_id, body.input, source, {}, arrived_at)
        reader = await _reader(speech)
    except (ApiError, SynthesisError, OSError) as error:
        raise await refused(request, error, _UNREAD_BYTES) from None
    return _Sound(orchestrator, speech, reader, body, request.state.caller)


def channel_of(orchestrator: Orchestrator, of_path: str | None, model: str) -> str:
    """The channel that a client of OpenAI's means; raises ApiError (404)."""
    name = of_path or model
    if name in orchestrator.channels:
        return name
    if of_path is None and (not model or model.startswith(_THEIR_MODELS)):
        return orchestrator.settings.channel_id
    raise unknown_channel(name, orchestrator)


async def _reader(speech: LiveSpeech) -> LogReader:
    """Raises OSError, and then the speech is not said."""
    try:
        return speech.sound()
    except OSError:
        await speech.cancel()
        raise


def _voice(orchestrator: Orchestrator, asked: str | VoiceId | None) -> str | None:
    name = asked.id if isinstance(asked, VoiceId) else asked
    ours = () if orchestrator.synthesiser is None else [voice.name for voice in orchestrator.synthesiser.voices]
    return None if name in _THEIR_VOICES and name not in ours else name or None


class _Sound(StreamingResponse):
    """The speech's sound, read from its log: a slow client holds up neither the speech nor memory.

    A client that goes away before its end interrupts the speech. A speech that is interrupted ends the sound; one that
    fails breaks the answer off, so that no client takes it for whole.
    """

    def __init__(
        self, orchestrator: Orchestrator, speech: LiveSpeech, reader: LogReader, body: AudioSpeechBody, caller: str
    ) -> None:
        events = body.stream_format == "sse"
        super().__init__(
            _events(self._pieces(body.response_format)) if events else self._pieces(body.response_format),
            media_type="text/event-stream" if events else MEDIA[body.response_format],
            headers={"Location": f"/v1/tasks/{speech.task.id}"},
        )
        self._orchestrator = orchestrator
        self._speech = speech
        self._caller = caller
        self._reader = reader
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Holds one of the places for live speeches."""
        try:
            with self._orchestrator.sockets.one(self._caller):
                await super().__call__(scope, receive, send)
        except _BrokenOff:
            return  # uvicorn closes the connection, since the body has no end
        finally:
            self._reader.close()
            if not self._ended:
                with anyio.CancelScope(shield=True):
                    await self._speech.cancel()

    async def _pieces(self, wanted: SpeechFormat) -> AsyncIterator[bytes]:
        encoder = EncodedSpeech(wanted)
        while len(frames := await self._reader.read(_PIECE_FRAMES)):
            if data := await asyncio.to_thread(encoder.push, frames.sound.reshape(-1)):
                yield data
        if (why := self._speech.broken_off) is not None and why != TaskState.CANCELLED.value:
            self._ended = True
            raise _BrokenOff(why)
        yield await asyncio.to_thread(encoder.finish)
        self._ended = True


class _BrokenOff(Exception):
    """The speech failed after its beginning was sent."""


async def _events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same as server-sent events."""
    async for piece in pieces:
        yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()})
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    yield _event({"type": "speech.audio.done", "usage": usage})


def _event(body: dict[str, object]) -> bytes:
    return f"data: {json.dumps(body)}\n\n".encode()
