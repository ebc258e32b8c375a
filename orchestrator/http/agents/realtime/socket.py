"""`/v1/realtime`: a client of OpenAI's Realtime talks with a channel."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from dataclasses import replace
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from conversation.message import whole
from conversation.turn.actions import TellFault, TellHeard, TellSentence, TellState, TellTranscript
from conversation.turn.state import TurnState
from orchestrator.conversations.register import Place
from orchestrator.conversations.session import ConversationSession, Manner
from orchestrator.conversations.session_events import Ending, Over, Ready, SessionEvent
from orchestrator.http.agents.audio_speech import channel_of
from orchestrator.http.agents.realtime.client_events import (
    Append,
    BadEvent,
    Clear,
    ClientEvent,
    Commit,
    ItemCreate,
    ResponseCancel,
    ResponseCreate,
    SessionUpdate,
    Truncate,
    read_event,
)
from orchestrator.http.agents.realtime.spoken_answer import RATE_HZ, SpokenAnswer, ToldSpeech
from orchestrator.http.errors import ApiError
from orchestrator.http.held_conversation import claimed, plan_of
from orchestrator.http.microphone import Microphone
from orchestrator.orchestrator import Orchestrator
from speech.log import LogReader

_MOST_ERRORS = 20
_MOST_UNREAD = 2_000
_MOST_TYPED = 20_000
_LAST_S = 30.0
_NORMAL, _POLICY, _GOING_AWAY = 1000, 1008, 1001
_SUBPROTOCOL = "realtime"

logger = logging.getLogger(__name__)


async def realtime(socket: WebSocket) -> None:
    """Serve the socket to its end; the channel is that of the path, else of `?model=`. Raises ApiError before that."""
    orchestrator: Orchestrator = socket.app.state.orchestrator
    model = socket.query_params.get("model", "")
    channel_id = channel_of(orchestrator, socket.path_params.get("channel_id"), model)
    plan_of(orchestrator, channel_id)
    place = await claimed(orchestrator, channel_id)
    try:
        await socket.accept(_SUBPROTOCOL if _SUBPROTOCOL in socket.scope.get("subprotocols", ()) else None)
        await _Realtime(socket, orchestrator, place).run()
    finally:
        place.release_unused()


class _Realtime:
    """One connection. The conversation begins with the first sound or text, so that instructions can come before."""

    def __init__(self, socket: WebSocket, orchestrator: Orchestrator, place: Place) -> None:
        self._socket = socket
        self._orchestrator = orchestrator
        self._place = place
        self._told: asyncio.Queue[SessionEvent | Over | tuple[ToldSpeech, LogReader]] = asyncio.Queue(_MOST_UNREAD)
        self._session: ConversationSession | None = None
        self._ready = asyncio.Event()
        self._pushed = False
        self._instructions: str | None = None
        self._microphone = Microphone(RATE_HZ, 1, asyncio.get_running_loop().time)
        self._heard_bytes = 0
        self._state = TurnState.LISTENING
        self._input_item: str | None = None
        self._typed: list[str] = []
        self._answer: SpokenAnswer | None = None
        self._pouring: asyncio.Task[None] | None = None
        self._faulty = False
        self._gone = False

    async def run(self) -> None:
        code = _NORMAL
        await self._send("session.created", session=self._view())
        reading = asyncio.create_task(self._read())
        telling = asyncio.create_task(self._tell())
        stopping = asyncio.create_task(self._orchestrator.stopping.wait())
        unused = asyncio.create_task(self._until_unused())
        try:
            await asyncio.wait({reading, telling, stopping, unused}, return_when=asyncio.FIRST_COMPLETED)
            code = _GOING_AWAY if stopping.done() else _POLICY if reading.done() else _NORMAL
            for over in (reading, telling):
                if over.done() and (error := over.exception()) is not None:
                    logger.error("a realtime socket on channel %s", self._place.channel, exc_info=error)
        finally:
            if self._session is not None:
                self._session.end(Ending.LEFT)
            working = [task for task in (reading, telling, stopping, unused, self._pouring) if task is not None]
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            if self._session is not None:
                await self._session.ended.wait()
            while not self._told.empty():
                if isinstance(told := self._told.get_nowait(), tuple):
                    told[1].close()
            await self._close(code)

    async def _read(self) -> None:
        errors = 0
        while errors <= _MOST_ERRORS:
            received = await self._socket.receive()
            if received["type"] == "websocket.disconnect":
                self._gone = True
                return
            try:
                await self._take(read_event(received.get("text") or ""))
            except BadEvent as error:
                errors += 1
                await self._fail("invalid_event", str(error), error.event_id)
            except ApiError as error:
                errors += 1
                await self._fail(error.code, error.message)

    async def _until_unused(self) -> None:
        """Return where no conversation has begun in time: the channel's place for one is held meanwhile."""
        limit_s = self._orchestrator.settings.conversation_unused_s
        await asyncio.sleep(limit_s)
        if self._session is None:
            await self._fail("unused", f"Nothing was said for {limit_s:g} s. Connect again to talk.")
            return
        await self._session.ended.wait()
        await asyncio.sleep(_LAST_S)  # in which a client that reads slowly is told so

    async def _take(self, event: ClientEvent) -> None:
        match event:
            case SessionUpdate():
                self._update(event.session)
                await self._send("session.updated", session=self._view())
            case Append():
                sound = event.sound()
                session = await self._begun()
                async for piece in self._microphone.pieces(sound):
                    await session.hear(piece)
                self._heard_bytes += len(sound)
            case Commit():
                await (await self._begun()).release()
                if self._pushed:
                    await self._committed()
            case Clear():
                await self._send("input_audio_buffer.cleared")
            case ItemCreate():
                await self._typed_item(event)
            case ResponseCreate():
                if self._typed:
                    text, self._typed = "\n".join(self._typed), []
                    await (await self._begun()).type(text)
            case ResponseCancel():
                if self._session is not None:
                    await self._session.interrupt()
            case Truncate():
                if self._session is not None and self._answer is not None and self._answer.item_id == event.item_id:
                    await self._session.interrupt()
                place = {"item_id": event.item_id, "content_index": event.content_index}
                await self._send("conversation.item.truncated", **place, audio_end_ms=event.audio_end_ms)

    async def _typed_item(self, event: ItemCreate) -> None:
        texts = [part.text for part in event.item.content if part.text]
        if event.item.type != "message" or event.item.role != "user" or not texts:
            raise BadEvent("item: here only a message of the user with text is taken", event.event_id)
        if sum(map(len, [*self._typed, *texts])) > _MOST_TYPED:
            raise BadEvent(f"item: at most {_MOST_TYPED} characters wait for an answer", event.event_id)
        self._typed += texts
        content = [{"type": "input_text", "text": text} for text in texts]
        item: dict[str, Any] = {"id": event.item.id or _new_id("item"), "object": "realtime.item", "type": "message"}
        item |= {"role": "user", "status": "completed", "content": content}
        await self._send("conversation.item.added", item=item)
        await self._send("conversation.item.done", item=item)

    def _update(self, asked: dict[str, Any]) -> None:
        """What comes after the beginning changes nothing; the answer shows what holds."""
        if self._session is not None:
            return
        if isinstance(instructions := asked.get("instructions"), str):
            self._instructions = whole(instructions[:_MOST_TYPED])
        audio = asked.get("audio")
        given = audio.get("input") if isinstance(audio, dict) else None
        if isinstance(given, dict) and "turn_detection" in given:
            self._pushed = given["turn_detection"] is None

    async def _begun(self) -> ConversationSession:
        """The conversation, which begins here; raises ApiError."""
        if self._session is None:
            plan = plan_of(self._orchestrator, self._place.channel)
            if self._instructions is not None:
                plan = replace(plan, prompt=self._instructions)
            self._session = self._orchestrator.conversations.begin(
                self._place, plan, Manner(pushed=self._pushed, greets=False), self._new_speech, self._put
            )
        await self._ready.wait()  # before that it takes nothing
        return self._session

    def _new_speech(self) -> ToldSpeech:
        return ToldSpeech(self._orchestrator, self._place.channel, lambda speech, reader: self._put((speech, reader)))

    def _put(self, told: Any) -> None:
        try:
            self._told.put_nowait(told)
        except asyncio.QueueFull:  # a client that reads nothing
            if self._session is not None:
                self._session.end(Ending.LEFT)
            if isinstance(told, tuple):
                told[1].close()

    async def _tell(self) -> None:
        while True:
            match await self._told.get():
                case (ToldSpeech() as speech, LogReader() as reader):
                    answer = await self._answering()
                    answer.speeches.append(speech)
                    await self._poured()
                    self._pouring = asyncio.create_task(answer.pour(reader))
                case Ready():
                    self._ready.set()
                case TellState(state):
                    await self._become(state)
                case TellTranscript(_, text, True):
                    await self._understood(text)
                case TellSentence(_, text):
                    await (await self._answering()).add(text)
                case TellHeard(_, text):
                    answer = await self._answering()
                    await self._poured()
                    await answer.end(text, self._faulty)
                    self._answer, self._faulty = None, False
                case TellFault(code, message):
                    self._faulty = self._answer is not None
                    await self._fail(code, message)
                case Over():
                    return

    async def _poured(self) -> None:
        if self._pouring is not None:
            await asyncio.wait({self._pouring})
            self._pouring = None

    async def _answering(self) -> SpokenAnswer:
        if self._answer is None:
            self._answer = SpokenAnswer(self._send)
            await self._answer.begin()
        return self._answer

    async def _become(self, state: TurnState) -> None:
        hearing = (TurnState.HEARING, TurnState.INTERRUPTED)
        before, self._state = self._state, state
        if state in hearing and before not in hearing:
            self._input_item = _new_id("item")
            if not self._pushed:
                place = {"item_id": self._input_item, "audio_start_ms": self._heard_ms}
                await self._send("input_audio_buffer.speech_started", **place)
        elif before in hearing and state not in hearing:
            await self._stopped()  # it was understood before, or was no words
            self._input_item = None
        if state is TurnState.THINKING:
            await self._answering()

    async def _understood(self, text: str) -> None:
        if self._input_item is None:  # it was typed
            return
        await self._stopped()
        place = {"item_id": self._input_item, "content_index": 0, "transcript": text}
        if not self._pushed:
            await self._committed()
        usage = {"type": "duration", "seconds": 0.0}
        await self._send("conversation.item.input_audio_transcription.completed", **place, usage=usage)
        self._input_item = None

    async def _stopped(self) -> None:
        if self._input_item is not None and not self._pushed:
            place = {"item_id": self._input_item, "audio_end_ms": self._heard_ms}
            await self._send("input_audio_buffer.speech_stopped", **place)

    async def _committed(self) -> None:
        self._input_item = self._input_item or _new_id("item")
        await self._send("input_audio_buffer.committed", item_id=self._input_item)

    @property
    def _heard_ms(self) -> int:
        return self._heard_bytes * 1000 // (2 * RATE_HZ)

    def _view(self) -> dict[str, Any]:
        """The session as it holds; `channel` is ours, and tells whose face to watch."""
        pcm = {"type": "audio/pcm", "rate": RATE_HZ}
        detection = None if self._pushed else {"type": "server_vad"}
        plan = plan_of(self._orchestrator, self._place.channel)
        return {
            "type": "realtime",
            "model": self._place.channel,
            "channel": self._place.channel,
            "instructions": self._instructions if self._instructions is not None else plan.prompt,
            "output_modalities": ["audio"],
            "audio": {
                "input": {"format": pcm, "turn_detection": detection},
                "output": {"format": pcm, "voice": plan.voice or ""},
            },
        }

    async def _fail(self, code: str, message: str, event_id: str | None = None) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message, "event_id": event_id}
        await self._send("error", error=error)

    async def _send(self, kind: str, **values: Any) -> None:
        if self._gone:
            return
        try:
            await self._socket.send_text(json.dumps({"type": kind, "event_id": _new_id("event"), **values}))
        except (WebSocketDisconnect, WebSocketDisconnected):
            self._gone = True  # the reader finds out too

    async def _close(self, code: int) -> None:
        if not self._gone:
            self._gone = True
            try:
                await self._socket.close(code)
            except (WebSocketDisconnect, WebSocketDisconnected):
                return


def _new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(10)}"
