"""A language model's server with faults: chat completions as OpenAI has them, each request in the way asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

GOOD_ANSWER = "All is well again."
SLOW_S = 8.0
_ENDLESS_PIECES, _ENDLESS_S = 20_000, 0.002


class Fault(StrEnum):
    """How a provider may fail."""

    SLOW = "slow"
    BROKEN_OFF = "broken_off"
    BUSY = "busy"
    GARBAGE = "garbage"
    ENDLESS = "endless"
    OTHER_LANGUAGE = "other_language"
    EMPTY = "empty"


class FaultyProvider:
    """Answers well where `fault` is None."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FaultyProvider]:
        """Serves inside the block, at `url`."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server:
            yield self
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next(line for line in head.splitlines() if line.startswith("content-length:"))
            await reader.readexactly(int(length.partition(":")[2]))
            await self._answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a client that has heard enough
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        match self.fault:
            case Fault.BUSY:
                await _write(
                    writer, "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
                )
                return
            case Fault.SLOW:
                await _begin(writer)
                await asyncio.sleep(SLOW_S)
            case Fault.GARBAGE:
                await _begin(writer)
                await _write(writer, "data: {no json\n\n")
                return
            case Fault.BROKEN_OFF:
                await _begin(writer)
                await _say(writer, "This sentence has no")
                return
            case Fault.ENDLESS:
                await _begin(writer)
                for _ in range(_ENDLESS_PIECES):
                    await _say(writer, "And so on and on. ")
                    await asyncio.sleep(_ENDLESS_S)
            case Fault.OTHER_LANGUAGE:
                await _begin(writer)
                await _say(writer, "你好，今天天气很好。")
            case Fault.EMPTY:
                await _begin(writer)
            case None:
                await _begin(writer)
        if self.fault in (None, Fault.SLOW):
            await _say(writer, GOOD_ANSWER)
        await _say(writer, "", finish="stop")
        await _write(writer, "data: [DONE]\n\n")


async def _begin(writer: asyncio.StreamWriter) -> None:
    await _write(writer, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")


async def _say(writer: asyncio.StreamWriter, text: str, finish: str | None = None) -> None:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    await _write(writer, f"data: {json.dumps({'choices': [choice]})}\n\n")


async def _write(writer: asyncio.StreamWriter, text: str) -> None:
    writer.write(text.encode())
    await writer.drain()
