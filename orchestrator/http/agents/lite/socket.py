"""The session's socket: sound in, as segments; out comes what is heard of them."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from orchestrator.channels.channel import Channel
from orchestrator.http.agents.lite.messages import (
    RATE_HZ,
    BadMessage,
    Interrupt,
    KeepAlive,
    Listening,
    Speak,
    event,
    read_message,
)
from orchestrator.http.agents.lite.register import LiteSession, LiteSessions
from orchestrator.http.errors import ApiError
from orchestrator.http.live_speech import LiveSpeech
from orchestrator.http.segment import LOST, Segment
from orchestrator.orchestrator import Orchestrator
from orchestrator.tasks.task import Task, TaskState
from speech.audio.live_pcm import PcmSource

_MOST_ERRORS = 20
_POLICY, _GOING_AWAY = 1008, 1001

logger = logging.getLogger(__name__)


async def lite_socket(socket: WebSocket) -> None:
    """Serve the socket of a session that was started; the path holds its secret. Its end is that of the session."""
    orchestrator: Orchestrator = socket.app.state.orchestrator
    sessions: LiteSessions = socket.app.state.lite_sessions
    session = sessions.of_socket(socket.path_params["secret"])
    channel = None if session is None else session.channel
    if session is None or channel is None or session.connected.is_set():
        message = "There is no such session, or its socket is open already. Start another one."
        raise ApiError(HTTPStatus.NOT_FOUND, "unknown_session", message)
    session.connected.set()
    try:
        await socket.accept()
        await _LiteSocket(socket, orchestrator, session, channel).run()
    finally:
        session.over.set()


class _LiteSocket:
    def __init__(self, socket: WebSocket, orchestrator: Orchestrator, session: LiteSession, channel: Channel) -> None:
        self._socket = socket
        self._orchestrator = orchestrator
        self._session = session
        self._channel = channel
        self._open: Segment | None = None
        self._refused = False  # the rest of a segment that isn't said
        self._running: dict[asyncio.Task[None], Segment] = {}
        self._state = "idle"
        self._rest_state = "idle"
        self._gone = False

    async def run(self) -> None:
        await self._say("session.state_updated", state="connected")
        stopping = self._orchestrator.stopping
        ending = [asyncio.create_task(event.wait()) for event in (self._session.over, stopping)]
        reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait({reading, *ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._open is not None:
                self._open.end(LOST)
            for task in (reading, *ending):
                task.cancel()
            await asyncio.gather(reading, *ending, return_exceptions=True)
            if not stopping.is_set() or self._session.over.is_set():  # else it plays on, within the drain's limit
                await self._cut_short()
            while self._running:
                await asyncio.wait(self._running)
            await self._close(_GOING_AWAY)

    async def _read(self) -> None:
        errors = 0
        while errors <= _MOST_ERRORS:
            received = await self._socket.receive()
            if received["type"] == "websocket.disconnect":
                self._gone = True
                return
            try:
                await self._take(received.get("text") or "")
            except BadMessage as error:
                errors += 1
                await self._fail("bad_message", str(error))
        await self._close(_POLICY)

    async def _take(self, text: str) -> None:
        message = read_message(text)
        if isinstance(message, Speak):
            await self._speak(message)
        elif isinstance(message, Interrupt):
            self._end_open()
            await self._cut_short()
        elif isinstance(message, Listening):
            self._rest_state = "listening" if message.type == "agent.start_listening" else "idle"
            if self._state != "talking":
                await self._become(self._rest_state)
        elif not isinstance(message, KeepAlive):
            self._end_open()

    async def _speak(self, message: Speak) -> None:
        sound = message.sound()
        if self._open is None and not self._refused:
            await self._begin()
        if self._open is not None:
            await self._open.put(sound)

    async def _begin(self) -> None:
        source = PcmSource(RATE_HZ, 1)
        try:
            speech = await LiveSpeech.begin(self._orchestrator, self._channel.id, {}, None, source)
        except ApiError as error:
            self._refused = True
            await self._fail(error.code, error.message)
            await self._say("agent.speak_ended", heard_s=0.0)
            return
        # Not bounded: an interruption comes behind all sound that was sent before it.
        segment = Segment(speech, source, self._orchestrator.settings.live_idle_limit_s, bounded=False)
        self._open = segment
        task = asyncio.create_task(self._play(segment), name=f"lite-{speech.task.id}")
        self._running[task] = segment
        task.add_done_callback(self._running.pop)

    def _end_open(self) -> None:
        self._refused = False
        if self._open is not None:
            self._open.end()
            self._open = None

    async def _cut_short(self) -> None:
        for segment in list(self._running.values()):
            await self._channel.cancel(segment.speech.task.id)

    async def _play(self, segment: Segment) -> None:
        """Follow one segment to its end, which is told exactly once."""

        async def changed(task: Task) -> None:
            if task.state is TaskState.STREAMING:
                await self._tell_started(segment)

        receiving = asyncio.create_task(segment.receive())
        final: Task | None = None
        try:
            final = await segment.speech.follow(changed)
        except Exception:  # of this segment; what else its client says goes on
            logger.exception("task %s", segment.speech.task.id)
        finally:
            receiving.cancel()
            await asyncio.wait({receiving})
        if self._open is segment:
            self._open, self._refused = None, True
        if final is not None and final.failure is not None:
            await self._fail(final.failure.code, final.failure.message)
        kind = "interrupted" if final is None or final.state is TaskState.CANCELLED else "ended"
        heard_s = segment.speech.heard_samples / RATE_HZ
        if heard_s:
            await self._tell_started(segment)  # it may have begun and ended between two looks at it
        await self._say(f"agent.speak_{kind}", heard_s=heard_s)
        if len(self._running) == 1:
            await self._become(self._rest_state)

    async def _tell_started(self, segment: Segment) -> None:
        if not segment.started:
            segment.started = True
            await self._say("agent.speak_started")
            await self._become("talking")

    async def _become(self, state: str) -> None:
        before, self._state = self._state, state
        await self._say("agent.state_updated", previous_state=before, new_state=state, state=state)

    async def _fail(self, code: str, message: str) -> None:
        await self._say("error", error={"code": code, "message": message})

    async def _say(self, kind: str, **values: Any) -> None:
        if self._gone:
            return
        try:
            await self._socket.send_text(event(kind, **values))
        except (WebSocketDisconnect, WebSocketDisconnected):
            self._gone = True

    async def _close(self, code: int) -> None:
        if not self._gone:
            self._gone = True
            try:
                await self._socket.close(code)
            except (WebSocketDisconnect, WebSocketDisconnected):
                return
