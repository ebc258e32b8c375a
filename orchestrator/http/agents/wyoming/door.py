"""The port that speaks Wyoming: who may connect, how many, and that none is left when it closes."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from wyoming.error import Error
from wyoming.event import async_write_event

from orchestrator.http.agents.wyoming.connection import WyomingConnection
from orchestrator.http.agents.wyoming.events import LONGEST_LINE_BYTES
from orchestrator.orchestrator import Orchestrator

_GOODBYE_S = 5.0
_UNREAD_BYTES = 1_000_000
# After a minute of silence a client that lost its network is found out within another half.
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))

logger = logging.getLogger(__name__)


@asynccontextmanager
async def wyoming_door(orchestrator: Orchestrator, listening: socket.socket) -> AsyncIterator[None]:
    """Answer Wyoming's clients inside the block, on a socket that is bound already."""
    door = _Door(orchestrator)
    server = await asyncio.start_server(door.serve, sock=listening, limit=LONGEST_LINE_BYTES)
    logger.info("Wyoming on tcp://%s:%d", *listening.getsockname()[:2])
    try:
        yield
    finally:
        server.close()
        await door.aclose()


class _Door:
    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self._running: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self._admitted(reader, writer)
            await _goodbye(reader, writer)
        except Exception:  # of this client; others go on
            logger.exception("a client of Wyoming")
        finally:
            writer.transport.abort()  # of a client that didn't take the rest, or wasn't answered
            self._running.discard(task)

    async def aclose(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _admitted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        orchestrator = self._orchestrator
        peer = writer.get_extra_info("peername")
        address = peer[0] if peer else ""  # none where it is gone already
        if not orchestrator.settings.may_use_wyoming(address):
            logger.warning("Wyoming: %s is none of wyoming_clients", address)
            return
        caller = orchestrator.gate.caller(None, address).name
        refusal = orchestrator.sockets.refusal(caller, "open sockets")
        if refusal is None and not orchestrator.accepting:
            refusal = "the server is stopping"
        if refusal is None and (wait_s := orchestrator.requests.take(caller)):
            refusal = f"these are too many connections a minute, wait {wait_s} s"
        if refusal is not None:
            await async_write_event(Error(text=f"Not now: {refusal}.", code="busy").event(), writer)
            return
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        with orchestrator.sockets.one(caller):
            await WyomingConnection(orchestrator, reader, writer, caller).run()


async def _goodbye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close so that the last answer arrives: a connection with unread bytes in it would be reset, and that lost."""
    unread = 0
    with suppress(OSError):  # TimeoutError too
        async with asyncio.timeout(_GOODBYE_S):
            writer.write_eof()
            while unread < _UNREAD_BYTES and (data := await reader.read(65_536)):
                unread += len(data)
            writer.close()
            await writer.wait_closed()  # once all was sent, also to a client that has closed its own side long ago
