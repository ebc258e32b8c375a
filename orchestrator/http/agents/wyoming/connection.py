"""One client's connection: texts that the channel says and whose sound is the answer, and sound that it says."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from http import HTTPStatus
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_write_event
from wyoming.ping import Pong
from wyoming.snd import Played
from wyoming.tts import SynthesizeStopped

from conversation.synthesis.synthesiser import SynthesisError
from orchestrator.http.agents.audio_formats import RATE_HZ, EncodedSpeech, SpeechFormat
from orchestrator.http.agents.wyoming import events
from orchestrator.http.agents.wyoming.description import SAMPLE_BYTES, description
from orchestrator.http.agents.wyoming.events import BadEvent, ClientEvent, EventReader
from orchestrator.http.errors import ApiError, from_os_error
from orchestrator.http.guard import within
from orchestrator.http.live_speech import LiveSpeech
from orchestrator.http.segment import LOST, Segment
from orchestrator.http.task_routes import unknown_channel
from orchestrator.http.text_source import text_source
from orchestrator.orchestrator import Orchestrator
from orchestrator.tasks.task import Failure, Task, TaskState
from speech.audio.live_pcm import PcmSource
from speech.audio.live_source import LiveSource
from speech.log import LogReader
from speech.source import SpeechSource

_PIECE_FRAMES = 25  # a second: the sound begins before the last sentence is synthesised
_STALLED_S = 10.0
"""A client that reads nothing for so long is gone."""


logger = logging.getLogger(__name__)


class _Eventable(Protocol):
    def event(self) -> Event: ...


class _ClientGone(Exception):
    """It has closed, or doesn't read."""


class WyomingConnection:
    """Reads the client's events while it answers those before them. An error is told, and ends the connection."""

    def __init__(
        self, orchestrator: Orchestrator, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, caller: str
    ) -> None:
        self._orchestrator = orchestrator
        self._events = EventReader(reader)
        self._writer = writer
        self._caller = caller
        self._channel_id = orchestrator.settings.channel_id
        self._open: Segment | None = None
        self._format: tuple[int, int] | None = None  # of the open segment's sound
        self._texts: set[asyncio.Task[None]] = set()  # whose sound is being sent
        self._sounds: dict[asyncio.Task[None], Segment] = {}  # that are to be reported as played
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Until the client has closed and its answers are over, an error was told, or the server stops.

        A text that wasn't sent to its end falls silent; sound that came is said, as all that was complete.
        """
        reading = asyncio.create_task(self._read())
        ends = [asyncio.create_task(event.wait()) for event in (self._over, self._orchestrator.stopping)]
        try:
            await asyncio.wait({reading, *ends}, return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.result()  # raises what nobody expects
            await self._leave_open()
            while (left := {*self._texts, *self._sounds}) and not self._over.is_set():
                await asyncio.wait({ends[0], *left}, return_when=asyncio.FIRST_COMPLETED)
            for segment in list(self._sounds.values()):
                await segment.received.wait()
        finally:
            all_left = (reading, *ends, *self._texts, *self._sounds)
            for task in all_left:
                task.cancel()
            await asyncio.gather(*all_left, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while (event := await self._events.next()) is not None:
                await self._take(event)
        except BadEvent as error:
            await self._fail(Failure("bad_event", str(error)))
        except (ApiError, SynthesisError) as error:
            await self._fail(Failure(error.code, error.message))
        except _ClientGone:
            self._over.set()

    async def _take(self, event: ClientEvent) -> None:
        match event:
            case events.Describe():
                await self._say(description(self._orchestrator))
            case events.Ping():
                await self._say(Pong(text=event.text))
            case events.SelectProgram():
                self._channel_id = self._existing(event.name)
            case events.Synthesize():
                await self._take_text(event)
            case events.SynthesizeStart():
                await self._begin_text(event.voice, streamed=True)
            case events.SynthesizeChunk():
                await self._put(event.text.encode("utf-8", "surrogatepass"), None, "synthesize-start")
            case events.AudioStart():
                await self._begin_sound(event.rate, event.channels)
            case events.AudioChunk():
                await self._put(event.sound, (event.rate, event.channels), "audio-start")
            case events.SynthesizeStop() | events.AudioStop():
                self._end_open()

    async def _take_text(self, event: events.Synthesize) -> None:
        if self._open is not None and self._open.of_text:
            return  # what the chunks say, once more, for services that take no chunks
        longest = self._orchestrator.settings.say_limit_chars
        if len(event.text) > longest:
            message = f"This text has {len(event.text)} characters and may have {longest} (say_limit_chars): stream it."
            raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "text_too_long", message)
        await self._begin_text(event.voice, streamed=False)
        await self._put(event.text.encode("utf-8", "surrogatepass"), None, "synthesize")
        self._end_open()

    async def _begin_text(self, voice: events.Voice | None, streamed: bool) -> None:
        self._require_closed()
        while self._texts:  # their sounds would mix
            await asyncio.wait(self._texts)
        name = None if voice is None else voice.name
        source = text_source(self._orchestrator, self._existing(self._channel_id), name, None)
        segment = await self._begin(source, SpeechSource.TEXT)
        try:
            reader = segment.speech.sound()
        except OSError as error:  # it isn't said without its answer
            self._end_open()
            await segment.speech.cancel()
            await segment.receive()  # nothing; it closes what the segment holds
            raise from_os_error(error) from None
        task = asyncio.create_task(
            self._answer(segment, reader, streamed), name=f"wyoming-text-{segment.speech.task.id}"
        )
        self._texts.add(task)
        task.add_done_callback(self._texts.discard)

    async def _begin_sound(self, rate_hz: int, channels: int) -> None:
        self._require_closed()
        try:
            source = PcmSource(rate_hz, channels)
        except ValueError as error:
            raise BadEvent(f"audio-start: {error}") from None
        self._format = (rate_hz, channels)
        segment = await self._begin(source, SpeechSource.STREAM)
        task = asyncio.create_task(self._play(segment), name=f"wyoming-sound-{segment.speech.task.id}")
        self._sounds[task] = segment
        task.add_done_callback(self._sounds.pop)

    async def _begin(self, source: LiveSource, kind: SpeechSource) -> Segment:
        within(self._orchestrator.upload_rate, self._caller, "speeches")
        speech = await LiveSpeech.begin(self._orchestrator, self._channel_id, {}, None, source, kind)
        of_text = kind is SpeechSource.TEXT
        # The sound of a text is wanted as fast as it can be had, which is faster than it is said.
        limit_s = self._orchestrator.settings.live_idle_limit_s
        self._open = Segment(speech, source, limit_s, of_text, bounded=not of_text)
        return self._open

    async def _put(self, data: bytes, sound: tuple[int, int] | None, begins: str) -> None:
        if self._open is None or self._open.of_text is not (sound is None):
            raise BadEvent(f"This comes before {begins}.")
        if sound is not None and sound != self._format:
            raise BadEvent(f"audio-chunk: sound of {sound} Hz and channels, where audio-start said {self._format}.")
        await self._open.put(data)

    def _require_closed(self) -> None:
        if self._open is not None:
            raise BadEvent("Another text or sound is open: end it first.")

    def _existing(self, channel_id: str) -> str:
        if channel_id not in self._orchestrator.channels:
            raise unknown_channel(channel_id, self._orchestrator)
        return channel_id

    def _end_open(self, fault: Failure | None = None) -> None:
        if self._open is not None:
            self._open.end(fault)
            self._open = None

    async def _leave_open(self) -> None:
        segment = self._open
        self._end_open(LOST)
        if segment is not None and segment.of_text and self._orchestrator.accepting:
            await self._silence(segment)

    async def _answer(self, segment: Segment, reader: LogReader, streamed: bool) -> None:
        """Send a text's sound while it is synthesised. A client that is gone before its end interrupts the speech.

        A speech that is interrupted ends the sound; one that fails ends the connection, so that nobody takes it for
        whole.
        """
        receiving = asyncio.create_task(segment.receive())
        encoder = EncodedSpeech(SpeechFormat.PCM)
        ended = False
        try:
            await self._say(AudioStart(rate=RATE_HZ, width=SAMPLE_BYTES, channels=1))
            while len(frames := await reader.read(_PIECE_FRAMES)):
                await self._say_sound(await asyncio.to_thread(encoder.push, _mono(frames.sound)))
            why = segment.speech.broken_off
            if why == TaskState.CANCELLED.value:
                receiving.cancel()  # it may wait for a synthesiser, for a sentence that nobody will hear
                failure = None
            else:
                failure = await receiving
            if why is None or why == TaskState.CANCELLED.value:
                await self._say_sound(await asyncio.to_thread(encoder.finish))
                await self._say(AudioStop())
                if streamed:
                    await self._say(SynthesizeStopped())
            elif failure is not None:
                await self._fail(failure)
            else:
                await self._fail(Failure(why, f"The speech failed: /v1/tasks/{segment.speech.task.id} says why."))
            ended = True
        except _ClientGone:
            self._over.set()
        except Exception as error:  # an unexpected one ends this connection, and nothing else
            logger.exception("task %s", segment.speech.task.id)
            await self._fail(Failure("internal_error", f"The server failed at this text: {error}"))
        finally:
            reader.close()
            if not ended and self._orchestrator.accepting:
                await self._silence(segment)
            segment.end()
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)

    async def _play(self, segment: Segment) -> None:
        """Say sound, and report its end once, however it ends."""
        receiving = asyncio.create_task(segment.receive())
        final: Task | None = None
        try:
            final = await segment.speech.follow(_nothing)
        except Exception:  # of this sound; what else its client says goes on
            logger.exception("task %s", segment.speech.task.id)
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
        with suppress(_ClientGone):  # clients that don't wait for the report close before it
            if final is not None and final.failure is not None:
                await self._say(Error(text=final.failure.message, code=final.failure.code))
            if final is not None:  # else the server stops, and says it after its next start
                await self._say(Played())

    async def _silence(self, segment: Segment) -> None:
        segment.end()
        await segment.speech.cancel()

    async def _say_sound(self, sound: bytes) -> None:
        if sound:
            await self._say(AudioChunk(rate=RATE_HZ, width=SAMPLE_BYTES, channels=1, audio=sound))

    async def _fail(self, failure: Failure) -> None:
        with suppress(_ClientGone):  # it ends anyway
            await self._say(Error(text=failure.message, code=failure.code))
        self._over.set()

    async def _say(self, answer: _Eventable) -> None:
        try:
            async with asyncio.timeout(_STALLED_S):
                await async_write_event(answer.event(), self._writer)
        except OSError:  # TimeoutError too
            raise _ClientGone from None


def _mono(sound: NDArray[np.int16]) -> NDArray[np.int16]:
    return sound.reshape(-1)


async def _nothing(task: Task) -> None:
    """Only the end of a sound is told."""
