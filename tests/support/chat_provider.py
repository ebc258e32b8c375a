"""A real HTTP server on this machine with the interface of OpenAI's providers, and with their faults."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

Answer = Callable[["ChatExchange"], Awaitable[None]]


class ChatExchange:
    """One request, and what is written to its client."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self._writer = writer

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def whole(self, status: int, body: str, kind: str = "application/json", **headers: str) -> None:
        fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        length = len(body.encode())
        await self.write(
            f"HTTP/1.1 {status} Status\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
            f"Connection: close\r\n{fields}\r\n{body}".encode()
        )

    async def stream(self) -> None:
        """Begin a stream of events whose end is that of the connection."""
        await self.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")

    async def delta(self, finish: str | None = None, **delta: Any) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        await self.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())

    async def done(self) -> None:
        await self.delta(finish="stop")
        await self.write(b"data: [DONE]\n\n")


class ChatProvider:
    """Answers each request by `answer`, and keeps the requests; `left` counts clients that went away before the end."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.seen: list[ChatExchange] = []
        self.left = 0
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ChatProvider"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server:
            yield self
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.seen.append(ChatExchange(head[0].split()[1], headers, body, writer))
            await self.answer(self.seen[-1])
        except ConnectionError:
            self.left += 1
        except asyncio.IncompleteReadError:
            pass  # a client that asks nothing any more
        finally:
            writer.close()
