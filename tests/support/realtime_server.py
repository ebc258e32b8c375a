"""A server that speaks OpenAI's Realtime over a real socket: it hears nothing, but keeps its rules, and has faults."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

RATE_HZ = 24_000
_DELTA_S = 0.1


class RealtimeServer:
    """Answers `words`, a tenth of a second of a tone each, after `waits_s`, one each `pace_s`.

    `fault` may be "break" or "garbage" (after the second word), "fail" or "silent"; `status` refuses connections.
    """

    def __init__(self, words: str = "It is noon on this server now.", heard: str = "What time is it?") -> None:
        self.words = words
        self.heard = heard
        self.waits_s, self.pace_s = 0.05, 0.01
        self.fault = ""
        self.status: HTTPStatus | None = None
        self.url = ""
        self.keys: list[str | None] = []
        self.received: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.committed: list[np.ndarray[Any, np.dtype[np.int16]]] = []
        self.connections = 0
        self._numbers = 0

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """What clients sent of a kind."""
        return [message for message in self.received if message["type"] == kind]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["RealtimeServer"]:
        async with serve(self._serve, "127.0.0.1", 0, process_request=self._greet) as server:
            (socket,) = server.sockets
            self.url = f"ws://127.0.0.1:{socket.getsockname()[1]}/v1"
            yield self

    def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        self.keys.append(request.headers.get("Authorization"))
        return None if self.status is None else connection.respond(self.status, "no")

    async def _serve(self, socket: ServerConnection) -> None:
        self.connections += 1
        client = _Client(self, socket)
        with suppress(ConnectionClosed):
            await client.tell("session.created", session=_session())
            async for message in socket:
                self.received.append(json.loads(message))
                await client.take(self.received[-1])
        client.stop()

    def name(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind}_{self._numbers}"


class _Client:
    def __init__(self, server: RealtimeServer, socket: ServerConnection) -> None:
        self._server = server
        self._socket = socket
        self._buffer = b""
        self._answering: asyncio.Task[None] | None = None
        self._response: dict[str, Any] = {}
        self._played: dict[str, int] = {}  # milliseconds of each item

    def stop(self) -> None:
        if self._answering is not None:
            self._answering.cancel()

    async def tell(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": self._server.name("event"), **fields}
        self._server.sent.append(event)
        await self._socket.send(json.dumps(event))

    async def take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "session.update":
                await self.tell("session.updated", session=_session())
            case "input_audio_buffer.append":
                self._buffer += base64.b64decode(message["audio"])
            case "input_audio_buffer.clear":
                self._buffer = b""
                await self.tell("input_audio_buffer.cleared")
            case "input_audio_buffer.commit":
                await self._commit()
            case "response.create":
                await self._create(message)
            case "response.cancel":
                if self._answering is None or self._answering.done():
                    await self._refuse("response_cancel_not_active", "no response is active")
                else:
                    self._answering.cancel()
                    await self._done("cancelled")
            case "conversation.item.truncate":
                if message["audio_end_ms"] > self._played.get(message["item_id"], -1):
                    await self._refuse("invalid_value", "audio_end_ms is longer than the item")
                    return
                fields = {name: message[name] for name in ("item_id", "content_index", "audio_end_ms")}
                await self.tell("conversation.item.truncated", **fields)

    async def _refuse(self, code: str, message: str) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": None, "event_id": None}
        await self.tell("error", error=error)

    async def _commit(self) -> None:
        samples, self._buffer = np.frombuffer(self._buffer, "<i2"), b""
        if len(samples) < 0.1 * RATE_HZ:
            await self._refuse("input_audio_buffer_commit_empty", "the buffer is too small")
            return
        self._server.committed.append(samples)
        item = self._server.name("item")
        await self.tell("input_audio_buffer.committed", item_id=item, previous_item_id=None)
        await self.tell(
            "conversation.item.input_audio_transcription.completed",
            item_id=item,
            content_index=0,
            transcript=self._server.heard,
            usage={"type": "duration", "seconds": 1},
        )

    async def _create(self, message: dict[str, Any]) -> None:
        if self._answering is not None and not self._answering.done():
            await self._refuse("conversation_already_has_active_response", "a response is active")
            return
        metadata = (message.get("response") or {}).get("metadata")
        self._response = {"object": "realtime.response", "id": self._server.name("resp"), "metadata": metadata}
        await self.tell("response.created", response={**self._response, "status": "in_progress", "output": []})
        self._answering = asyncio.create_task(self._answer())

    async def _answer(self) -> None:
        server, item = self._server, self._server.name("item")
        of = {"response_id": self._response["id"], "item_id": item, "output_index": 0, "content_index": 0}
        tone = np.int16(8000 * np.sin(2 * np.pi * 440 * np.arange(round(_DELTA_S * RATE_HZ)) / RATE_HZ))
        self._played[item] = 0
        await asyncio.sleep(server.waits_s)
        if server.fault == "silent":
            await asyncio.sleep(60)
        for number, word in enumerate(server.words.split()):
            if server.fault and number == 2:
                if server.fault == "break":
                    await self._socket.close(1011)
                    return
                if server.fault == "garbage":
                    await self._socket.send("{no json")
                await self._done(
                    "failed", {"type": "failed", "error": {"code": "server_error", "type": "out of order"}}
                )
                return
            await self.tell("response.output_audio_transcript.delta", delta=f"{' ' if number else ''}{word}", **of)
            self._played[item] += round(1000 * _DELTA_S)
            await self.tell("response.output_audio.delta", delta=base64.b64encode(tone.tobytes()).decode(), **of)
            await asyncio.sleep(server.pace_s)
        await self._done("completed")

    async def _done(self, status: str, details: dict[str, Any] | None = None) -> None:
        response = {**self._response, "status": status, "status_details": details, "output": []}
        await self.tell("response.done", response=response)


def _session() -> dict[str, Any]:
    return {"type": "realtime", "object": "realtime.session", "id": "sess_1", "model": "a-model"}
