"""`python -m streaming.webrtc.whip`: sends one channel to a server by WHIP (RFC 9725), until its input ends.

Its first line of input is a `WhipConfig` as JSON. Each line of output is a JSON object: `{"alive": true}` once a
second, `{"on_air": true}` when the stream has begun, and `{"problem": …}` before it ends with exit code 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urljoin

import httpx

from streaming.webrtc.capture_clock import CaptureClock
from streaming.webrtc.feed import Feed
from streaming.webrtc.peer import Peer, stays_silent
from streaming.webrtc.sdp import MOST_BYTES, BadOffer
from streaming.webrtc.units import Unit

_HTTP_S = 5.0
_CONNECT_S = 8.0
_SILENT_S = 12.0
_LOOK_S = 1.0


class WhipFailed(RuntimeError):
    """The server doesn't take the stream, or doesn't any more; the message has no token."""


@dataclass(frozen=True)
class WhipConfig:
    """Where the packets come from and where they go; `verify` is false, or the file of the CAs that are trusted."""

    packet_socket: str
    url: str
    token: str = field(default="", repr=False)
    verify: bool | str = True

    def to_json(self) -> dict[str, Any]:
        """All values as JSON can hold them."""
        return asdict(self)


class WhipClient:
    """One session with a server."""

    def __init__(self, config: WhipConfig) -> None:
        self._config = config
        self._clock = CaptureClock(time.time(), time.monotonic())
        self._feed = Feed(Path(config.packet_socket), self._clock, self._send)
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._peer = Peer("", self._clock, time.monotonic, self._ready, self._feed.request_keyframe, self._end)
        self._joined = False
        self._beginning: asyncio.Task[None] | None = None

    async def run(self) -> NoReturn:
        """Sends until it is cancelled, and says goodbye; raises WhipFailed."""
        feeding = asyncio.create_task(self._feed.run())
        try:
            async with self._session():
                while True:
                    _tell(alive=True)
                    await asyncio.wait({self._ended}, timeout=_LOOK_S)
                    if self._ended.done():
                        raise WhipFailed(self._ended.result())
                    if reason := stays_silent(self._peer, time.monotonic(), _CONNECT_S, _SILENT_S):
                        raise WhipFailed(reason)
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
            await self._peer.close()

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[None]:
        config = self._config
        headers = {"Authorization": f"Bearer {config.token}"} if config.token else {}
        verify = ssl.create_default_context(cafile=config.verify) if isinstance(config.verify, str) else config.verify
        async with httpx.AsyncClient(verify=verify, headers=headers, timeout=_HTTP_S, follow_redirects=True) as http:
            offer = await self._peer.offer()
            sent = {"Content-Type": "application/sdp"}
            try:
                async with http.stream("POST", config.url, content=offer, headers=sent) as response:
                    answer = await _read(response) if response.status_code == httpx.codes.CREATED else ""
            except httpx.HTTPError as error:
                raise WhipFailed(f"the server doesn't answer ({type(error).__name__})") from None
            if response.status_code != httpx.codes.CREATED:
                raise WhipFailed(f"the server answered {response.status_code} {response.reason_phrase}")
            session = urljoin(str(response.url), response.headers.get("Location", ""))
            try:
                try:
                    await self._peer.accept(answer)
                except BadOffer as error:
                    raise WhipFailed(str(error)) from None
                yield
            finally:
                with contextlib.suppress(httpx.HTTPError):  # it has gone itself
                    await http.delete(session)

    def _ready(self, peer: Peer) -> None:
        self._beginning = asyncio.create_task(self._begin())

    async def _begin(self) -> None:
        burst = list(self._feed.burst())
        if not burst:
            self._feed.request_keyframe()
        self._joined = True
        for unit in burst:
            await self._peer.send(unit)
        _tell(on_air=True)

    async def _send(self, unit: Unit) -> None:
        if self._joined:
            await self._peer.send(unit)

    def _end(self, peer: Peer, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)


async def _read(response: httpx.Response) -> str:
    """The server's answer; raises WhipFailed for one that is too long to be any."""
    body = b""
    async for data in response.aiter_bytes():
        body += data
        if len(body) > MOST_BYTES:
            raise WhipFailed(f"the server answered with more than {MOST_BYTES} bytes")
    return body.decode(errors="replace")


def _tell(**values: Any) -> None:
    print(json.dumps(values), flush=True)


async def _input_ended() -> None:
    # Not in a thread, which would keep a process from ending whose server has refused the stream.
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    await reader.read()


async def _run(config: WhipConfig) -> None:
    client = asyncio.create_task(WhipClient(config).run())
    parent = asyncio.create_task(_input_ended())
    await asyncio.wait({client, parent}, return_when=asyncio.FIRST_COMPLETED)
    for task in (client, parent):
        task.cancel()
    await asyncio.wait({client, parent})
    if not client.cancelled():
        client.result()


def main() -> int:
    """Runs until the input ends; returns the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.WARNING)
    config = WhipConfig(**json.loads(sys.stdin.buffer.readline()))
    try:
        asyncio.run(_run(config))
    except WhipFailed as error:
        _tell(problem=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
