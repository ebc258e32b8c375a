"""A responder elsewhere: chat completions as OpenAI has them, and many servers of other models too; streaming."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from conversation.message import Message, whole
from conversation.provider_answers import PASSING, key_header, refusal, refuses_key, retry_after_s, shown
from conversation.response.responder import (
    AWAY,
    BROKEN_OFF,
    BUSY,
    ENDLESS,
    GARBAGE,
    REFUSED,
    Piece,
    ResponseError,
    TextPiece,
    Tool,
    ToolCall,
)

_ATTEMPTS = 2  # before the first byte: a person waits
_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 1.0
_LONGEST_LINE = 256_000
_MOST_EVENTS = 50_000  # of one answer, which has some hundreds: they hold up whatever else the server does
_MOST_CALLS, _LONGEST_CALL = 64, 64_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChatProvider:
    """Where it is: the address before `/chat/completions`, a key where one is needed, and what is asked for there.

    It must be reached within `connect_s`, begin within `first_s`, go on within `next_s` and end within `whole_s`.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    most_tokens: int = 400
    temperature: float | None = None
    connect_s: float = 5.0
    first_s: float = 20.0
    next_s: float = 10.0
    whole_s: float = 120.0


class OpenAiResponder:
    """Streams the answer. What fails before its first byte is tried once more, never behind it."""

    def __init__(self, provider: ChatProvider) -> None:
        self._provider = provider
        self._client = _client(provider)

    async def run(self) -> None:
        """Keep its connections until it is cancelled."""
        if self._client.is_closed:
            self._client = _client(self._provider)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self._client.aclose()

    async def answer(self, history: Sequence[Message], tools: Sequence[Tool] = ()) -> AsyncGenerator[Piece, None]:
        """Pieces as they come, then the calls of tools. Closing it closes the connection, by which a server stops."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self._provider.whole_s
        for attempt in range(1, _ATTEMPTS + 1):
            begun = False
            try:
                async with aclosing(self._attempt(history, tools, ends_s)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
                return
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
                if begun:
                    raise ResponseError(BROKEN_OFF, f"The answer broke off ({reason}). Ask again.") from None
                if attempt == _ATTEMPTS or isinstance(error, httpx.ReadTimeout):
                    message = f"The language model at {self._provider.url} can't be used now ({reason}). Ask later."
                    raise ResponseError(AWAY, message) from None
                logger.warning("the responder at %s: %s; attempt %d", self._provider.url, reason, attempt)
            await asyncio.sleep(_PAUSE_S)

    async def _attempt(
        self, history: Sequence[Message], tools: Sequence[Tool], ends_s: float
    ) -> AsyncGenerator[Piece, None]:
        calls: dict[int, dict[str, str]] = {}
        finished = begun = False
        async with self._events(history, tools) as events:
            for _ in range(_MOST_EVENTS):
                event = await self._next(events, ends_s, begun)
                if event is None:
                    break
                if event == "[DONE]":
                    finished = True
                    break
                text, is_last = _read(event, calls)
                finished = finished or is_last
                if text:
                    begun = True
                    yield TextPiece(text)
            else:
                raise ResponseError(ENDLESS, f"The answer was not over after {_MOST_EVENTS} events, and is cut.")
        if not finished:
            if begun or calls:
                raise ResponseError(BROKEN_OFF, "The answer ended before its end. Ask again.")
            raise ResponseError(GARBAGE, "The language model's answer is no stream of chat completions.")
        for call in calls.values():
            yield ToolCall(whole(call["id"]), whole(call["name"]), whole(call["arguments"]))

    async def _next(self, events: AsyncIterator[str], ends_s: float, begun: bool) -> str | None:
        """The next event; servers that think keep a connection alive by comments, so the time is taken here."""
        provider, now_s = self._provider, asyncio.get_running_loop().time()
        wait_s = provider.next_s if begun else provider.first_s
        try:
            async with asyncio.timeout(max(0.0, min(wait_s, ends_s - now_s))):
                return await anext(events, None)
        except TimeoutError:
            if asyncio.get_running_loop().time() >= ends_s:
                message = f"The answer was not over after {provider.whole_s:g} s, and is cut."
                raise ResponseError(ENDLESS, message) from None
            if begun:
                raise ResponseError(BROKEN_OFF, f"The answer did not go on within {wait_s:g} s. Ask again.") from None
            raise ResponseError(AWAY, f"The language model did not begin within {wait_s:g} s. Ask later.") from None

    @asynccontextmanager
    async def _events(self, history: Sequence[Message], tools: Sequence[Tool]) -> AsyncIterator[AsyncIterator[str]]:
        provider = self._provider
        body: dict[str, Any] = {
            "model": provider.model,
            "messages": [{"role": message.role.value, "content": message.text} for message in history],
            "stream": True,
            "max_tokens": provider.most_tokens,
        }
        if provider.temperature is not None:
            body["temperature"] = provider.temperature
        if tools:
            body["tools"] = list(tools)
        request = self._client.build_request("POST", f"{provider.url}/chat/completions", json=body)
        answer = await self._sent(request)
        try:
            kind = answer.headers.get("content-type", "").partition(";")[0].strip()
            if kind != "text/event-stream":
                raise ResponseError(GARBAGE, f"The language model answers with {kind[:40] or 'no type'}, not a stream.")
            async with aclosing(_data(answer)) as events:
                yield events
        finally:
            await answer.aclose()

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        """An answer of status 200; one more attempt is made where the server says that it can't just now."""
        for attempt in range(1, _ATTEMPTS + 1):
            answer = await self._client.send(request, stream=True)
            status = answer.status_code
            if status == httpx.codes.OK:
                return answer
            wanted_s = retry_after_s(answer)
            said = whole(await refusal(answer))
            await answer.aclose()
            may_repeat = status in PASSING or (status == httpx.codes.TOO_MANY_REQUESTS and wanted_s is not None)
            pause_s = _PAUSE_S if wanted_s is None else wanted_s
            if may_repeat and attempt < _ATTEMPTS and pause_s <= _LONGEST_PAUSE_S:
                await asyncio.sleep(pause_s)
                continue
            raise self._error(status, said)
        raise AssertionError("the last attempt returns or raises")

    def _error(self, status: int, said: str) -> ResponseError:
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return ResponseError(BUSY, "The language model has too much to do, or its quota is used up. Ask later.")
        if refused := refuses_key("language model", self._provider.url, status):
            return ResponseError(REFUSED, refused)
        if status in PASSING:
            return ResponseError(AWAY, f"The language model can't answer now (status {status}). Ask later.")
        return ResponseError(REFUSED, f"The language model refuses the question (status {status}): {said}")


def _client(provider: ChatProvider) -> httpx.AsyncClient:
    timeout = httpx.Timeout(provider.first_s, connect=provider.connect_s)
    return httpx.AsyncClient(headers=key_header(provider.key), timeout=timeout)


async def _data(answer: httpx.Response) -> AsyncGenerator[str, None]:
    """What server-sent events carry, one line each as in chat completions."""
    rest = ""
    async for text in answer.aiter_text():
        *lines, rest = (rest + text).split("\n")
        if len(rest) > _LONGEST_LINE:
            raise ResponseError(GARBAGE, f"The language model sends a line of more than {_LONGEST_LINE} characters.")
        for line in lines:
            if line.startswith("data:"):
                yield line[5:].strip()
    if rest.startswith("data:"):
        yield rest[5:].strip()


def _read(event: str, calls: dict[int, dict[str, str]]) -> tuple[str, bool]:
    """The text of an event, and whether it says that it is the last one; calls of tools come in pieces.

    JSON can hold half a character, which nothing that is sent or stored can: it becomes a question mark.
    """
    try:
        message = json.loads(event)
        if "error" in message:
            raise ResponseError(BROKEN_OFF, f"The language model failed: {_short(message['error'])}")
        choices = message.get("choices") or [{}]
        delta = choices[0].get("delta") or {}
        for part in delta.get("tool_calls") or ():
            call = calls.setdefault(int(part.get("index", 0)), {"id": "", "name": "", "arguments": ""})
            function = part.get("function") or {}
            call["id"] += part.get("id") or ""
            call["name"] += function.get("name") or ""
            call["arguments"] += function.get("arguments") or ""
            if len(calls) > _MOST_CALLS or sum(map(len, call.values())) > _LONGEST_CALL:
                most = f"{_MOST_CALLS} calls of tools, or one of more than {_LONGEST_CALL} characters"
                raise ResponseError(ENDLESS, f"The language model sends more than {most}.")
        text = delta.get("content") or ""
        if not isinstance(text, str):
            raise TypeError("content is no text")
        return whole(text), choices[0].get("finish_reason") is not None
    except (ValueError, ArithmeticError, TypeError, AttributeError, LookupError, RecursionError):
        raise ResponseError(GARBAGE, f"The language model sends what is no chat completion: {_short(event)}") from None


def _short(value: object) -> str:
    return whole(shown(value))
