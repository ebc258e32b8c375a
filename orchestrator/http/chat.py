"""`/v1/channels/{id}/chat`: one typed turn of a channel's conversation, answered with server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from http import HTTPStatus

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from conversation.turn.actions import TellHeard
from orchestrator.conversations.plan import ConversationPlan
from orchestrator.conversations.register import Place
from orchestrator.conversations.session import ConversationSession, Manner
from orchestrator.conversations.session_events import Ending, Over, Ready, SessionEvent
from orchestrator.http.arriving import small_json
from orchestrator.http.conversation_messages import LONGEST_TEXT, Ended, EndReason, ServerMessage, written
from orchestrator.http.errors import ApiError
from orchestrator.http.guard import busy, within
from orchestrator.http.held_conversation import claimed, message_of, new_speech, plan_of
from orchestrator.http.operations import Answer, operation
from orchestrator.http.request_models import ChatBody
from orchestrator.orchestrator import Orchestrator

_BODY_BYTES = 12 * LONGEST_TEXT + 1000
_MOST_UNREAD = 1000
_KEEPALIVE_S = 15.0
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@operation(
    "Say something to a channel",
    Answer("The messages of a conversation, then one named done", media="text/event-stream"),
    *(400, 404, 408, 409, 413, 422, 429, 503),
    body=ChatBody,
)
async def chat(request: Request) -> Response:
    """One typed turn: the channel says the answer, and the events tell of it. Who hangs up interrupts it."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    channel_id: str = request.path_params["channel_id"]
    text = await _text(request)
    plan = plan_of(orchestrator, channel_id)
    caller: str = request.state.caller
    within(orchestrator.upload_rate, caller, "conversations")
    if full := orchestrator.sockets.refusal(caller, "open sockets"):
        raise busy(full)
    place = await claimed(orchestrator, channel_id)
    held = ExitStack()
    held.callback(place.release_unused)
    held.enter_context(orchestrator.sockets.one(caller))
    return _Chat(_Turn(orchestrator, place, plan, text), held)


class _Chat(StreamingResponse):
    """The events of one turn; the places are free again once the response is over, also where it never began."""

    def __init__(self, turn: _Turn, held: ExitStack) -> None:
        super().__init__(turn.events(), media_type="text/event-stream", headers=_HEADERS)
        self._turn = turn
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            try:
                await super().__call__(scope, receive, send)
            finally:
                self._turn.leave()


class _Turn:
    """A conversation of one turn, told event by event."""

    def __init__(self, orchestrator: Orchestrator, place: Place, plan: ConversationPlan, text: str) -> None:
        self._orchestrator = orchestrator
        self._place = place
        self._plan = plan
        self._text = text
        self._session: ConversationSession | None = None
        self._waiting: asyncio.Queue[SessionEvent | Over] = asyncio.Queue(_MOST_UNREAD)

    def leave(self) -> None:
        """End the conversation, if it is still held."""
        if self._session is not None:
            self._session.end(Ending.LEFT)

    async def events(self) -> AsyncIterator[bytes]:
        """The events as they are sent; closing this interrupts the answer."""
        manner = Manner(typed=True, greets=False)
        speech = new_speech(self._orchestrator, self._place.channel)
        session = self._orchestrator.conversations.begin(self._place, self._plan, manner, speech, self._tell)
        self._session = session
        try:
            while True:
                try:
                    async with asyncio.timeout(_KEEPALIVE_S):
                        event = await self._waiting.get()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if isinstance(event, Over):
                    yield _event("ended", written(Ended(reason=_reason(event.ending))))
                    return
                if isinstance(event, Ready):
                    await session.type(self._text)
                else:
                    yield _message(message_of(event, self._plan))
                if isinstance(event, TellHeard):
                    yield _event("done", "{}")
                    return
        finally:
            self.leave()

    def _tell(self, event: SessionEvent | Over) -> None:
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:  # a client that reads nothing
            self.leave()


async def _text(request: Request) -> str:
    values = await small_json(request, _BODY_BYTES, f"A turn may have {LONGEST_TEXT} characters.")
    if not isinstance(values, dict):
        raise ApiError(HTTPStatus.BAD_REQUEST, "broken_json", 'Send a JSON object: {"text": "Hello."}.')
    try:
        return ChatBody.model_validate(values).text
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_text", f"text: {first['msg']}.") from None


def _reason(ending: Ending) -> EndReason:
    return EndReason.FAILED if ending is Ending.LEFT else EndReason(ending.value)


def _message(message: ServerMessage) -> bytes:
    return _event(message.type, written(message))


def _event(kind: str, data: str) -> bytes:
    return f"event: {kind}\ndata: {data}\n\n".encode()
