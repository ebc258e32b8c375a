"""`/v1/channels/{id}/conversation` as a WebSocket: the messages of one client, to and from its conversation."""

from __future__ import annotations

import asyncio
import logging

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from orchestrator.conversations.register import Place
from orchestrator.conversations.session import ConversationSession, Manner
from orchestrator.conversations.session_events import Ending, Over
from orchestrator.http.conversation_messages import (
    ClientMessage,
    Ended,
    EndReason,
    ErrorMessage,
    Interrupt,
    Mode,
    Release,
    Reset,
    ServerMessage,
    Start,
    Text,
    read_message,
    written,
)
from orchestrator.http.errors import ApiError
from orchestrator.http.guard import within
from orchestrator.http.held_conversation import claimed, message_of, new_speech, plan_of
from orchestrator.http.microphone import Microphone
from orchestrator.http.sent_key import answered_subprotocol
from orchestrator.http.speech_messages import BadMessage
from orchestrator.http.speech_socket import LARGEST_SOUND_BYTES
from orchestrator.orchestrator import Orchestrator

_START_S = 60.0
_MOST_ERRORS = 20
_MOST_UNREAD = 1000
_LAST_S = 5.0
_NORMAL, _GOING_AWAY, _POLICY, _FAULT = 1000, 1001, 1008, 1011
_CODES = {EndReason.STOPPING: _GOING_AWAY, EndReason.MISTAKES: _POLICY, EndReason.FAILED: _FAULT}

logger = logging.getLogger(__name__)


async def converse(socket: WebSocket) -> None:
    """Accept the socket and hold its conversation; raises ApiError before that."""
    orchestrator: Orchestrator = socket.app.state.orchestrator
    channel_id: str = socket.path_params["channel_id"]
    plan_of(orchestrator, channel_id)
    place = await claimed(orchestrator, channel_id)
    talk = ConversationSocket(socket, orchestrator, place)
    try:
        await socket.accept(answered_subprotocol(socket))
        await talk.run()
    finally:
        place.release_unused()


class ConversationSocket:
    """One client's connection."""

    def __init__(self, socket: WebSocket, orchestrator: Orchestrator, place: Place) -> None:
        self._socket = socket
        self._orchestrator = orchestrator
        self._place = place
        self._waiting: asyncio.Queue[ServerMessage | None] = asyncio.Queue(_MOST_UNREAD)
        self._gone = False
        self._errors = 0
        self._microphone: Microphone | None = None
        self._told_of_sound = False

    async def run(self) -> None:
        """Until the client leaves, or the conversation ends."""
        sending = asyncio.create_task(self._send(), name="conversation messages")
        reason: EndReason | None = EndReason.FAILED
        try:
            reason = await self._hold(sending)
        except Exception:  # of this connection; others go on
            logger.exception("a conversation's socket on channel %s", self._place.channel)
        finally:
            if self._place.session is not None:
                self._place.session.end(Ending.LEFT)
            await self._close(sending, reason)

    async def _hold(self, sending: asyncio.Task[None]) -> EndReason | None:
        """The conversation; returns why the server ends it, None where the client has left."""
        try:
            async with asyncio.timeout(_START_S):
                start = await self._first()
        except TimeoutError:
            self._put(ErrorMessage(code="unused", message=f"No start came for {_START_S:g} s. Connect again to talk."))
            return EndReason.UNUSED
        if start is None:
            return None if self._gone else EndReason.MISTAKES
        session = self._begin(start)
        if session is None:
            return EndReason.FAILED
        reading = asyncio.create_task(self._read(session), name="conversation reader")
        ended = asyncio.create_task(session.ended.wait(), name="conversation end")
        try:
            await asyncio.wait({reading, ended, sending}, return_when=asyncio.FIRST_COMPLETED)
            session.end(Ending.LEFT)
            await ended
            for over in (reading, sending):
                if over.done():
                    over.result()
        finally:
            for task in (reading, ended):
                task.cancel()
            await asyncio.gather(reading, ended, return_exceptions=True)
        if session.ending is Ending.LEFT or session.ending is None:
            return None if self._gone else EndReason.MISTAKES
        return EndReason(session.ending.value)

    def _begin(self, start: Start) -> ConversationSession | None:
        typed = start.format == "text"
        try:
            plan = plan_of(self._orchestrator, self._place.channel)
            within(self._orchestrator.upload_rate, self._socket.state.caller, "conversations")
        except ApiError as error:  # it was not so when the socket was accepted
            self._put(ErrorMessage(code=error.code, message=error.message))
            return None
        if not typed:
            assert start.sample_rate is not None
            loop = asyncio.get_running_loop()
            self._microphone = Microphone(start.sample_rate, start.channels, loop.time)
            if plan.recogniser == "none":
                message = "This channel recognises no speech: its recogniser is none. Type instead."
                self._put(ErrorMessage(code="no_recogniser", message=message))
        if start.tools and plan.responder in ("rules", "transformers"):
            message = (
                f"The responder {plan.responder} takes no tools, and isn't told of them. The responder openai does."
            )
            self._put(ErrorMessage(code="no_tools", message=message))
        return self._orchestrator.conversations.begin(
            self._place,
            plan,
            Manner(pushed=start.mode is Mode.PUSH, typed=typed, tools=tuple(start.tools)),
            new_speech(self._orchestrator, self._place.channel),
            lambda event: None if isinstance(event, Over) else self._put(message_of(event, plan)),
        )

    async def _first(self) -> Start | None:
        """The start of the conversation; None where the client leaves, or makes too many mistakes."""
        while (message := await self._next()) is not None:
            if isinstance(message, Start):
                return message
            if not isinstance(message, bytes) or not self._told_of_sound:
                self._told_of_sound = isinstance(message, bytes)  # said once, and not for each message
                self._mistake("not_started", 'The first message is {"type": "start", "sample_rate": …}.')
        return None

    async def _read(self, session: ConversationSession) -> None:
        while (message := await self._next()) is not None:
            match message:
                case bytes():
                    await self._hear(session, message)
                case Start():
                    self._mistake("already_started", "The conversation has begun. Connect again for another one.")
                case Release():
                    await session.release()
                case Interrupt():
                    await session.interrupt()
                case Text(text=text):
                    await session.type(text)
                case Reset():
                    session.reset()

    async def _hear(self, session: ConversationSession, sound: bytes) -> None:
        if self._microphone is None:
            if not self._told_of_sound:
                self._told_of_sound = True
                self._mistake("no_sound", "This conversation was started as text. Connect again to speak.")
        elif len(sound) > LARGEST_SOUND_BYTES:
            message = f"A message has {len(sound)} bytes and may have {LARGEST_SOUND_BYTES}: send smaller ones."
            self._mistake("message_too_large", message)
        else:
            async for piece in self._microphone.pieces(sound):
                await session.hear(piece)

    async def _next(self) -> ClientMessage | bytes | None:
        """The next message that can be understood; None at the end, and after too many mistakes."""
        while self._errors <= _MOST_ERRORS:
            received = await self._socket.receive()
            if received["type"] == "websocket.disconnect":
                self._gone = True
                return None
            sound: bytes | None = received.get("bytes")
            if sound is not None:
                return sound
            try:
                return read_message(received["text"])
            except BadMessage as error:
                self._mistake(error.code, str(error))
        return None

    def _mistake(self, code: str, message: str) -> None:
        self._errors += 1
        self._put(ErrorMessage(code=code, message=message))

    def _put(self, message: ServerMessage) -> None:
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:  # a client that reads nothing; the connection will be ended, too
            if self._place.session is not None:
                self._place.session.end(Ending.LEFT)

    async def _send(self) -> None:
        while (message := await self._waiting.get()) is not None:
            if not self._gone:
                try:
                    await self._socket.send_text(written(message))
                except (WebSocketDisconnect, WebSocketDisconnected):
                    self._gone = True  # the reader finds out too

    async def _close(self, sending: asyncio.Task[None], reason: EndReason | None) -> None:
        """Say what is left to say, and close."""
        try:
            async with asyncio.timeout(_LAST_S):
                if reason is not None:
                    await self._waiting.put(Ended(reason=reason))
                await self._waiting.put(None)
                await sending
                if not self._gone and reason is not None:
                    self._gone = True
                    await self._socket.close(_CODES.get(reason, _NORMAL))
        except (TimeoutError, WebSocketDisconnect, WebSocketDisconnected):
            return  # a client that doesn't read
        except Exception:  # of what it was told; it is told no more
            logger.exception("a conversation's socket on channel %s", self._place.channel)
            await self._socket.close(_FAULT)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
