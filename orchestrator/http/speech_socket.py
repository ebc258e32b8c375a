"""`/v1/channels/{id}/speech` as a WebSocket: a client speaks live, in segments, and is told what was heard."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from conversation.synthesis.synthesiser import SynthesisError
from orchestrator.http.errors import ApiError
from orchestrator.http.guard import within
from orchestrator.http.live_speech import LiveSpeech
from orchestrator.http.segment import LOST, Segment
from orchestrator.http.sent_key import answered_subprotocol
from orchestrator.http.speech_messages import (
    Accepted,
    BadMessage,
    Cue,
    Ended,
    EndReason,
    ErrorMessage,
    Format,
    Interrupt,
    Position,
    ServerMessage,
    Start,
    Started,
    Text,
    read_message,
    written,
)
from orchestrator.http.task_routes import require_ready, speech_parameters, unknown_channel
from orchestrator.http.text_source import text_source
from orchestrator.orchestrator import Orchestrator
from orchestrator.tasks.task import Failure, Task, TaskState
from speech.audio.lead_in import Rhythm
from speech.audio.live_container import ContainerSource
from speech.audio.live_pcm import PcmSource
from speech.audio.live_source import LiveSource
from speech.source import SpeechSource

LARGEST_SOUND_BYTES = 1_000_000
"""Of one binary message: some seconds of PCM. The connection itself ends by one of 4 MB."""
_POSITION_S = 0.9  # channels report each second
_MOST_ERRORS = 20
_UNUSED_S = 600.0
_GOING_AWAY, _POLICY, _FAULT = 1001, 1008, 1011
_DEMUXERS = {Format.WEBM: "matroska", Format.OGG: "ogg"}
_LOST_CODES = (LOST.code, "source_idle")

logger = logging.getLogger(__name__)


async def speak(socket: WebSocket) -> None:
    """Accept the socket and serve it to its end; raises ApiError before that."""
    orchestrator: Orchestrator = socket.app.state.orchestrator
    channel_id = socket.path_params["channel_id"]
    require_ready(orchestrator)
    if channel_id not in orchestrator.channels:
        raise unknown_channel(channel_id, orchestrator)
    await socket.accept(answered_subprotocol(socket))
    await SpeechSession(socket, orchestrator, channel_id).run()


class SpeechSession:
    """One client's connection. Its segments are sent one after another; a next one waits for those before it."""

    def __init__(self, socket: WebSocket, orchestrator: Orchestrator, channel_id: str) -> None:
        self._socket = socket
        self._orchestrator = orchestrator
        self._channel_id = channel_id
        self._open: Segment | None = None
        self._running: dict[asyncio.Task[None], Segment] = {}
        self._discarding = False  # what a client still sends of a segment that has ended here is no mistake
        self._gone = False
        self._errors = 0

    async def run(self) -> None:
        """Until the client leaves or the server stops; then what was received goes on its way."""
        stopping = asyncio.create_task(self._end_with_server())
        try:
            try:
                await self._read()
            except Exception:  # of this connection; others go on
                logger.exception("a socket of channel %s", self._channel_id)
                await self._close(_FAULT)
            self._gone = True
            self._end_open(LOST)
            for segment in list(self._running.values()):
                await segment.received.wait()
        finally:
            left = [stopping, *self._running]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _read(self) -> None:
        while self._errors <= _MOST_ERRORS:
            try:
                async with asyncio.timeout(_UNUSED_S):
                    message = await self._socket.receive()
            except TimeoutError:
                if self._running:
                    continue
                await self._fail(Failure("unused", f"Nothing was said for {_UNUSED_S:g} s. Connect again to speak."))
                await self._close(1000)
                return
            if message["type"] == "websocket.disconnect":
                return
            sound: bytes | None = message.get("bytes")
            if sound is not None:
                await self._take_sound(sound)
            else:
                await self._take_text(message["text"])
        await self._close(_POLICY)

    async def _take_sound(self, sound: bytes) -> None:
        if self._open is None:
            if not self._discarding:
                self._discarding = True  # said once, and not for each message
                await self._mistake(
                    Failure("no_segment", 'Sound came before {"type": "start", …}, which says what it is.')
                )
        elif self._open.of_text:
            self._end_open(Failure("bad_message", 'This segment is text: send {"type": "text", "text": …}.'))
        elif len(sound) > LARGEST_SOUND_BYTES:
            message = f"A message has {len(sound)} bytes and may have {LARGEST_SOUND_BYTES}: send smaller ones."
            self._end_open(Failure("message_too_large", message))
        else:
            await self._open.put(sound)

    async def _take_words(self, words: str) -> None:
        if self._open is None:
            if not self._discarding:
                self._discarding = True
                start = '{"type": "start", "format": "text"}'
                await self._mistake(Failure("no_segment", f"Text came before {start}."))
        elif not self._open.of_text:
            self._end_open(Failure("bad_message", "This segment is sound: send it as binary."))
        else:
            await self._open.put(words.encode("utf-8", "surrogatepass"))

    async def _take_text(self, text: str) -> None:
        try:
            message = read_message(text)
        except BadMessage as error:
            failure = Failure(error.code, str(error))
            if self._open is None:
                self._discarding = True
                await self._mistake(failure)
            else:
                self._end_open(failure)
            return
        if isinstance(message, Start):
            await self._start(message)
        elif isinstance(message, Text):
            await self._take_words(message.text)
        elif isinstance(message, Cue):
            await self._cue(message.motion)
        elif isinstance(message, Interrupt):
            await self._interrupt()
        elif self._open is not None:
            self._end_open()
        elif not self._discarding:
            await self._mistake(Failure("no_segment", "No segment is open that could end."))

    async def _cue(self, name: str) -> None:
        channel = self._orchestrator.channels.get(self._channel_id)
        names = () if channel is None else channel.motions.names
        if self._open is None:
            await self._mistake(Failure("no_segment", "A cue belongs to a segment, and none is open."))
        elif name not in names:
            there = f"there is {', '.join(names)}" if names else "it has none"
            await self._mistake(Failure("unknown_motion", f"The channel's avatar has no motion {name!r}; {there}."))
        elif not self._open.speech.cue(name):
            message = "Many cues wait for the sound that comes next already: send some sound between them."
            await self._mistake(Failure("too_many_cues", message))

    async def _start(self, message: Start) -> None:
        if self._open is not None:
            await self._mistake(Failure("segment_open", 'End the open segment first: {"type": "end"}.'))
            return
        asked = message.model_dump(include={"num_inference_steps", "guidance_scale", "seed"}, exclude_none=True)
        fields = {name: str(value) for name, value in asked.items()}
        try:
            source = self._source(message, fields)
            within(self._orchestrator.upload_rate, self._socket.state.caller, "speeches")
            kind = SpeechSource.TEXT if message.format is Format.TEXT else SpeechSource(message.source)
            speech = await LiveSpeech.begin(self._orchestrator, self._channel_id, fields, None, source, kind)
        except (ApiError, SynthesisError) as error:
            self._discarding = True
            await self._mistake(Failure(error.code, error.message))
            return
        of_text = message.format is Format.TEXT
        segment = Segment(speech, source, self._orchestrator.settings.live_idle_limit_s, of_text)
        self._open, self._discarding = segment, False
        await self._say(Accepted(task_id=speech.task.id, sample_rate=source.rate_hz if of_text else None))
        task = asyncio.create_task(self._run_segment(segment), name=f"live-{speech.task.id}")
        self._running[task] = segment
        task.add_done_callback(self._running.pop)

    def _source(self, message: Start, fields: dict[str, str]) -> LiveSource:
        if message.format is Format.S16LE:
            assert message.sample_rate is not None
            is_spoken = SpeechSource(message.source) is SpeechSource.MICROPHONE
            rhythm = partial(self._rhythm, fields) if is_spoken else lambda: None
            return PcmSource(message.sample_rate, message.channels, rhythm=rhythm)
        if message.format is Format.TEXT:
            return text_source(self._orchestrator, self._channel_id, message.voice, message.rate)
        return ContainerSource(self._orchestrator.settings.live_speech_limit_s, _DEMUXERS[message.format])

    def _rhythm(self, fields: dict[str, str]) -> Rhythm | None:
        channel = self._orchestrator.channels.get(self._channel_id)
        parameters = speech_parameters({**fields, "channel": self._channel_id}, self._orchestrator.defaults)
        return None if channel is None else channel.rhythm(parameters.steps, parameters.guidance)

    async def _run_segment(self, segment: Segment) -> None:
        task_id = segment.speech.task.id
        receiving = asyncio.create_task(self._receive(segment))
        lost = Failure("stopping", f"The server stops. It says the speech when it runs again: /v1/tasks/{task_id}.")
        final: Task | None = None
        try:
            final = await segment.speech.follow(partial(self._report, segment))
        except Exception:  # of this segment; what else its client says goes on
            logger.exception("task %s", task_id)
            lost = Failure("internal_error", f"The server failed here; what becomes of it: /v1/tasks/{task_id}.")
        finally:
            receiving.cancel()
            await asyncio.wait({receiving})
        if self._open is segment:
            self._end_open()
        await self._tell_end(segment, final, lost)

    async def _receive(self, segment: Segment) -> None:
        failure = await segment.receive()
        if self._open is segment:  # ended from here: by a limit, or by a fault of its sound
            self._end_open()
        if failure is not None:
            await self._fail(failure, segment.speech.task.id)

    async def _report(self, segment: Segment, task: Task) -> None:
        speech = segment.speech
        if task.state is not TaskState.STREAMING:
            segment.started = segment.started and task.state.final
            return
        if not segment.started:
            await self._tell_started(segment)
        elif (sample := speech.heard_samples) - segment.position >= _POSITION_S * speech.rate_hz:
            segment.position = sample
            await self._say(Position(task_id=task.id, sample=sample))

    async def _tell_started(self, segment: Segment) -> None:
        segment.started, segment.position = True, 0
        await self._say(Started(task_id=segment.speech.task.id, sample=0))

    async def _tell_end(self, segment: Segment, final: Task | None, lost: Failure) -> None:
        task_id = segment.speech.task.id
        if final is None:
            await self._fail(lost, task_id)
        reason = _reason(final)
        if final is not None and final.failure is not None and not segment.told and reason is not EndReason.SOURCE_LOST:
            await self._fail(final.failure, task_id)
        if segment.speech.heard_samples and not segment.started:
            await self._tell_started(segment)  # it began and ended between two looks at it
        await self._say(Ended(task_id=task_id, heard_samples=segment.speech.heard_samples, reason=reason))

    async def _interrupt(self) -> None:
        channel = self._orchestrator.channels.get(self._channel_id)
        self._end_open()
        for segment in list(self._running.values()):
            if channel is not None:  # else its tasks are cancelled already
                await channel.cancel(segment.speech.task.id)

    async def _end_with_server(self) -> None:
        await self._orchestrator.stopping.wait()
        message = "The server is stopping. What it has received is said, within its limit; send the rest again later."
        self._end_open(Failure("stopping", message))
        while self._running:
            await asyncio.wait(self._running)
        await self._close(_GOING_AWAY)

    def _end_open(self, fault: Failure | None = None) -> None:
        if self._open is not None:
            self._open.end(fault)
            self._open, self._discarding = None, True

    async def _mistake(self, failure: Failure) -> None:
        self._errors += 1
        await self._fail(failure)

    async def _fail(self, failure: Failure, task_id: str | None = None) -> None:
        for segment in self._running.values():
            segment.told = segment.told or segment.speech.task.id == task_id
        await self._say(ErrorMessage(code=failure.code, message=failure.message, task_id=task_id))

    async def _say(self, message: ServerMessage) -> None:
        if self._gone:
            return
        try:
            await self._socket.send_text(written(message))
        except (WebSocketDisconnect, WebSocketDisconnected):
            self._gone = True  # `_read` finds out too

    async def _close(self, code: int) -> None:
        if not self._gone:
            self._gone = True
            try:
                await self._socket.close(code)
            except (WebSocketDisconnect, WebSocketDisconnected):
                return


def _reason(final: Task | None) -> EndReason:
    if final is None:
        return EndReason.FAILED
    if final.state is TaskState.DONE:
        return EndReason.COMPLETED
    if final.state is TaskState.CANCELLED:
        return EndReason.INTERRUPTED
    lost = final.failure is not None and final.failure.code in _LOST_CODES
    return EndReason.SOURCE_LOST if lost else EndReason.FAILED
