"""A client of the socket for live speech: what `speak` and `say` do at another machine, or at this one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI


class SpeakFailed(RuntimeError):
    """The server can't be reached, or doesn't take the speech; the message is its own."""


@dataclass(frozen=True)
class LiveServer:
    """Where to speak: the server's address, http:// or https://, a channel of it, and a key where one is needed."""

    url: str
    channel: str
    key: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Those of each request."""
        return {} if self.key is None else {"Authorization": f"Bearer {self.key}"}

    @property
    def socket_url(self) -> str:
        """The socket's address."""
        return f"{self.url.rstrip('/').replace('http', 'ws', 1)}/v1/channels/{quote(self.channel, safe='')}/speech"


async def speak(
    server: LiveServer,
    start: dict[str, Any],
    sound: AsyncIterator[bytes | str],
    tell: Callable[[dict[str, Any]], None],
    interrupted: asyncio.Event,
) -> str:
    """Send one segment, sound or pieces of text, and tell each message of the server; returns the reason of its end.

    `interrupted` cuts it short. That is asked for beside the socket, where it overtakes the sound that still waits in
    it. Raises SpeakFailed.
    """
    try:
        async with connect(server.socket_url, additional_headers=server.headers) as socket:
            return await _segment(server, socket, start, sound, tell, interrupted)
    except InvalidStatus as error:
        raise SpeakFailed(_message(error)) from None
    except ConnectionClosed as error:
        raise SpeakFailed(f"{server.url} closed the connection: {error}") from None
    except (OSError, InvalidURI, InvalidHandshake) as error:
        raise SpeakFailed(f"{server.url}: {error}. Is the server running, and is that its address?") from None


async def _segment(
    server: LiveServer,
    socket: ClientConnection,
    start: dict[str, Any],
    sound: AsyncIterator[bytes | str],
    tell: Callable[[dict[str, Any]], None],
    interrupted: asyncio.Event,
) -> str:
    await socket.send(json.dumps({"type": "start", **start}))
    accepted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    sending = asyncio.create_task(_send(socket, sound))
    cutting = asyncio.create_task(_cut_short(server, accepted, sending, interrupted))
    try:
        async for text in socket:
            message = json.loads(text)
            tell(message)
            if message["type"] == "accepted":
                accepted.set_result(message["task_id"])
            elif message["type"] == "error" and not accepted.done():
                raise SpeakFailed(message["message"])
            elif message["type"] == "ended":
                return str(message["reason"])
    finally:
        for task in (sending, cutting):
            task.cancel()
        await asyncio.gather(sending, cutting, return_exceptions=True)
    raise SpeakFailed(f"{server.url} closed the connection before the speech had ended")


async def _send(socket: ClientConnection, sound: AsyncIterator[bytes | str]) -> None:
    with suppress(ConnectionClosed):  # whoever reads finds out
        async for block in sound:
            await socket.send(json.dumps({"type": "text", "text": block}) if isinstance(block, str) else block)
        await socket.send(json.dumps({"type": "end"}))


async def _cut_short(
    server: LiveServer, accepted: asyncio.Future[str], sending: asyncio.Task[None], interrupted: asyncio.Event
) -> None:
    await interrupted.wait()
    sending.cancel()
    async with httpx.AsyncClient(base_url=server.url, headers=server.headers) as http:
        await http.delete(f"/v1/tasks/{await accepted}")


def _message(error: InvalidStatus) -> str:
    try:
        return str(json.loads(error.response.body or b"")["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {error.response.status_code}"
