"""A real HTTP server with the interface of OpenAI's `/audio/speech`, and with its faults."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

RATE_HZ = 24_000
Answer = Callable[["Exchange"], Awaitable[None]]


def pcm(seconds: float) -> bytes:
    """A tone at 24 kHz."""
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return bytes(np.rint(9_000 * np.sin(2 * np.pi * 220 * times)).astype("<i2").tobytes())


class Exchange:
    """One request, and what is written to its client."""

    def __init__(self, headers: dict[str, str], body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.headers = headers
        self.body = body
        self._writer = writer

    async def head(self, status: int = 200, kind: str = "audio/pcm", **headers: str) -> None:
        """Begin an answer whose body comes in chunks."""
        lines = {"Content-Type": kind, "Transfer-Encoding": "chunked", **headers}
        fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        await self._write(f"HTTP/1.1 {status} Status\r\n{fields}\r\n".encode())

    async def chunk(self, data: bytes) -> None:
        await self._write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end(self) -> None:
        await self._write(b"0\r\n\r\n")

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class SpeechProvider:
    """Answers each request by `answer`, and keeps the requests; `left` counts clients that went away before the end."""

    def __init__(self) -> None:
        self.answer: Answer = spoken
        self.seen: list[Exchange] = []
        self.left = 0
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["SpeechProvider"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server:
            yield self
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            assert head[0].startswith("POST /v1/audio/speech ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.seen.append(Exchange(headers, body, writer))
            await self.answer(self.seen[-1])
        except ConnectionError:
            self.left += 1
        except asyncio.IncompleteReadError:
            pass  # a client that asks nothing any more
        finally:
            writer.close()


async def spoken(exchange: Exchange) -> None:
    """0.05 s for each letter, in chunks that are cut within samples."""
    sound = pcm(0.05 * len(exchange.body["input"]) / exchange.body.get("speed", 1.0))
    await exchange.head(Connection="close")
    for first in range(0, len(sound), 1_001):
        await exchange.chunk(sound[first : first + 1_001])
    await exchange.end()
