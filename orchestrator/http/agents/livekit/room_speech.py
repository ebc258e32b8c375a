"""What an agent sends into a room: byte streams with sound, each a segment that the channel says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

from livekit import rtc

from orchestrator.http.agents.livekit.reports import Playback, Report, Reports
from orchestrator.http.errors import ApiError
from orchestrator.http.live_speech import LiveSpeech
from orchestrator.http.segment import LOST, Segment
from orchestrator.orchestrator import Orchestrator
from orchestrator.tasks.task import Task, TaskState
from speech.audio.live_pcm import PcmSource

_TOPIC, _CLEAR = "lk.audio_stream", "lk.clear_buffer"
_MOST_WAITING = 32
"""Segments; an agent has one or two."""
_NOTHING_HEARD = Playback(0.0, interrupted=True)

logger = logging.getLogger(__name__)


class _Stream:
    """One byte stream, from its arrival to its report."""

    def __init__(self, reader: rtc.ByteStreamReader, report: Report) -> None:
        self.reader = reader
        self.report = report
        self.cleared = asyncio.Event()
        self.superseded = asyncio.Event()
        self.segment: Segment | None = None


class RoomSpeech:
    """Says the segments of one agent, in their order. Who else sends something is not heard."""

    def __init__(self, orchestrator: Orchestrator, channel_id: str, room: rtc.Room, agent: str) -> None:
        self._orchestrator = orchestrator
        self._channel_id = channel_id
        self._room = room
        self._agent = agent
        self._reports = Reports(room, agent)
        self._streams: asyncio.Queue[_Stream] = asyncio.Queue()
        self._open: list[_Stream] = []  # arrived, and not over

    def listen(self) -> None:
        """Take what comes from now on; it is said once `run` runs."""
        self._room.register_byte_stream_handler(_TOPIC, self._arrived)
        self._room.local_participant.register_rpc_method(_CLEAR, self._clear)

    async def run(self) -> None:
        """Until it is cancelled; what is said then is cut short, and reported."""
        reporting = asyncio.create_task(self._reports.run())
        playing: set[asyncio.Task[None]] = set()
        try:
            while True:
                stream = await self._streams.get()
                segment = await self._begin(stream)
                if segment is not None:
                    task = asyncio.create_task(self._play(stream, segment))
                    playing.add(task)
                    task.add_done_callback(playing.discard)
                    await self._pour(stream, segment)
                stream.reader.close()
        finally:
            self._room.unregister_byte_stream_handler(_TOPIC)
            await self._cut_short()
            for task in playing:
                task.cancel()
            await asyncio.gather(*playing, return_exceptions=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._reports.sent(), 1.0)
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)

    async def quiet(self) -> None:
        """Wait until all that has arrived is over and reported."""
        await self._reports.sent()

    def _arrived(self, reader: rtc.ByteStreamReader, sender: str) -> None:
        if sender != self._agent:
            reader.close()
            return
        for earlier in self._open:
            earlier.superseded.set()  # its end was lost, for an agent sends one at a time
        stream = _Stream(reader, self._reports.open())
        if len(self._open) >= _MOST_WAITING:
            logger.error("channel %s: more than %d segments wait", self._channel_id, _MOST_WAITING)
            stream.cleared.set()
        self._open.append(stream)
        self._streams.put_nowait(stream)

    async def _clear(self, call: rtc.RpcInvocationData) -> str:
        if call.caller_identity != self._agent:
            return "reject"
        await self._cut_short()
        return "ok"

    async def _cut_short(self) -> None:
        """All that has arrived, in its order; what an open stream still brings is discarded."""
        cut = list(self._open)
        for stream in cut:
            stream.cleared.set()
        for stream in cut:
            if stream.segment is None:
                self._over(stream, _NOTHING_HEARD)
            else:
                await self._cancel(stream.segment)

    async def _cancel(self, segment: Segment) -> None:
        segment.end()
        channel = self._orchestrator.channels.get(self._channel_id)
        if channel is not None:  # else its tasks are cancelled already
            await channel.cancel(segment.speech.task.id)

    async def _begin(self, stream: _Stream) -> Segment | None:
        """None for a stream that is not said; its report says so."""
        if stream.cleared.is_set():
            self._over(stream, _NOTHING_HEARD)
            return None
        attributes = stream.reader.info.attributes or {}
        try:
            source = PcmSource(int(attributes["sample_rate"]), int(attributes["num_channels"]))
            speech = await LiveSpeech.begin(self._orchestrator, self._channel_id, {}, None, source)
        except (ApiError, KeyError, ValueError) as error:
            logger.error("channel %s: a segment of its room isn't said: %s", self._channel_id, error)
            self._over(stream, _NOTHING_HEARD)
            return None
        segment = Segment(speech, source, self._orchestrator.settings.live_idle_limit_s)
        stream.segment = segment
        if stream.cleared.is_set():
            await self._cancel(segment)
        return segment

    async def _pour(self, stream: _Stream, segment: Segment) -> None:
        """Hand the stream's sound to its segment, up to the end of one of the two."""
        chunks = aiter(stream.reader)
        until = [asyncio.ensure_future(event.wait()) for event in (stream.superseded, stream.cleared, segment.received)]
        fault = None
        try:
            while True:
                chunk = asyncio.ensure_future(_next(chunks))
                await asyncio.wait({chunk, *until}, return_when=asyncio.FIRST_COMPLETED)
                if not chunk.done() or segment.received.is_set() or stream.cleared.is_set():
                    chunk.cancel()
                    await asyncio.gather(chunk, return_exceptions=True)
                    return
                if (sound := chunk.result()) is None:
                    return
                await segment.put(sound)
        except ConnectionError:  # rtc.StreamError: the agent or the room is gone
            fault = LOST
        finally:
            segment.end(fault)
            for waiting in until:
                waiting.cancel()

    async def _play(self, stream: _Stream, segment: Segment) -> None:
        async def changed(task: Task) -> None:
            if task.state is TaskState.STREAMING:
                stream.report.start()

        receiving = asyncio.create_task(segment.receive())
        final: Task | None = None
        try:
            final = await segment.speech.follow(changed)
        except Exception:  # of this segment; what else the agent says goes on
            logger.exception("task %s", segment.speech.task.id)
        finally:
            receiving.cancel()
            await asyncio.wait({receiving})
            speech = segment.speech
            self._over(stream, Playback(speech.heard_samples / speech.rate_hz, not _is_whole(final)))

    def _over(self, stream: _Stream, playback: Playback) -> None:
        stream.report.finish(playback)
        if stream in self._open:
            self._open.remove(stream)


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)


def _is_whole(final: Task | None) -> bool:
    """Whether all was heard that came; also of a stream whose end was lost."""
    if final is None or final.state is TaskState.CANCELLED:
        return False
    return final.failure is None or final.failure.code in (LOST.code, "source_idle")
