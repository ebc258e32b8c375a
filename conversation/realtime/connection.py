"""The WebSocket to a Realtime server: kept, made again when it is lost, and never waited for by the microphone."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from conversation.provider_answers import key_header, refuses_key
from conversation.realtime.messages import Sent
from conversation.response.responder import AWAY, BUSY, GARBAGE, REFUSED

_LONGEST_MESSAGE = 4 * 2**20  # a delta of sound is some tens of kilobytes
_MOST_WAITING = 1000  # messages, 20 s of the microphone's sound: a server that takes none for so long is not there
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 15.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RealtimeProvider:
    """The address before `/realtime`, as `wss://api.openai.com/v1`, the model asked for there, and a key.

    It must be reached within `connect_s`, and begin its answers within `first_s`.
    """

    url: str
    model: str
    key: str | None = None
    connect_s: float = 5.0
    first_s: float = 10.0

    @property
    def address(self) -> str:
        """Of the WebSocket."""
        return f"{self.url}/realtime?model={quote(self.model)}"


class RealtimeConnection:
    """One conversation's connection. What is sent while there is none is forgotten: who sends is told of its state."""

    def __init__(
        self,
        provider: RealtimeProvider,
        connected: Callable[[], Awaitable[None]],
        lost: Callable[[str, str], Awaitable[None]],
        received: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """`lost` is given a code and a message, once for each connection and for each attempt that fails."""
        self._provider = provider
        self._connected, self._lost, self._received = connected, lost, received
        self._waiting: asyncio.Queue[str] | None = None

    def send(self, message: Sent) -> None:
        """Send it soon; what can't be sent in time ends the connection."""
        if self._waiting is not None:
            try:
                self._waiting.put_nowait(json.dumps(message))
            except asyncio.QueueFull:
                self._waiting = None  # its sender sees that, and ends the connection

    async def run(self) -> None:
        """Keep connected until this is cancelled."""
        pause_s = _FIRST_PAUSE_S
        while True:
            was_connected, code, message = await self._once()
            logger.warning("the speech model at %s: %s", self._provider.url, message)
            await self._lost(code, message)
            pause_s = _FIRST_PAUSE_S if was_connected else min(2 * pause_s, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _once(self) -> tuple[bool, str, str]:
        """One connection to its end; returns whether there was one, and why it ended."""
        provider = self._provider
        try:
            socket = await connect(
                provider.address,
                additional_headers=key_header(provider.key),
                open_timeout=provider.connect_s,
                max_size=_LONGEST_MESSAGE,
                close_timeout=1,
            )
        except InvalidStatus as error:
            return False, *_refused(provider.url, error.response.status_code)
        except (OSError, WebSocketException) as error:  # a TimeoutError is an OSError
            return False, AWAY, f"The speech model can't be reached ({str(error) or type(error).__name__}). Ask later."
        self._waiting = waiting = asyncio.Queue[str](_MOST_WAITING)
        sending = asyncio.create_task(self._send_all(socket, waiting), name="realtime up")
        try:
            await self._connected()
            return True, *await self._receive_all(socket)
        finally:
            self._waiting = None
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await socket.close()

    async def _send_all(self, socket: ClientConnection, waiting: asyncio.Queue[str]) -> None:
        try:
            while self._waiting is waiting:
                await socket.send(await waiting.get())
            await socket.close(reason="too slow")
        except ConnectionClosed:
            return  # who receives tells why

    async def _receive_all(self, socket: ClientConnection) -> tuple[str, str]:
        """Hand on each event; returns why there are no more."""
        try:
            async for message in socket:
                event = json.loads(message)
                if not isinstance(event, dict):
                    return GARBAGE, "The speech model sends what is no JSON object."
                await self._received(event)
        except ValueError:
            return GARBAGE, "The speech model sends what is no JSON."
        except ConnectionClosed as error:
            return AWAY, f"The connection to the speech model broke off ({error}). Ask again."
        return AWAY, "The speech model ended the connection. Ask again."


def _refused(url: str, status: int) -> tuple[str, str]:
    if refused := refuses_key("speech model", url, status):
        return REFUSED, refused
    if status == 429:
        return BUSY, "The speech model has too much to do, or its quota is used up. Ask later."
    return AWAY, f"The speech model refuses the connection (status {status}). Ask later."
