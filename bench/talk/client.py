"""A person at the conversation's socket: a microphone that never stops, and a note of all that is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

RATE_HZ = 16_000
_BLOCK = 320  # 20 ms, as browsers give it
_LOUD = 500


class TurnLost(RuntimeError):
    """What should have been told wasn't, in the time that was given."""


@dataclass(frozen=True)
class Told:
    """A message of the server, by the monotonic clock."""

    at_s: float
    message: dict[str, Any]


@dataclass(frozen=True)
class Spoken:
    """When the first and the last loud sample of a sentence was spoken, by the monotonic clock."""

    began_s: float
    ended_s: float


Bleed = Callable[[int], NDArray[np.int16]]
"""As many samples of the avatar's voice as the microphone hears now."""


class TalkClient:
    """One conversation. `told` grows while it is held."""

    def __init__(self, url: str, channel: str) -> None:
        self.told: list[Told] = []
        self.bleed: Bleed | None = None
        self._url = url
        self._channel = channel
        self._voice = np.zeros(0, np.int16)
        self._sent_at_s = 0.0  # when the block that is sent next was spoken
        self._news = asyncio.Condition()
        self.ended = ""
        """Why there is no conversation any more."""
        self._socket: ClientConnection | None = None

    @asynccontextmanager
    async def talking(self) -> AsyncIterator[TalkClient]:
        """The conversation is held inside the block."""
        address = f"{self._url.replace('http', 'ws', 1)}/v1/channels/{self._channel}/conversation"
        # A busy machine may answer a ping late: that is to be measured, and no reason to hang up.
        async with connect(address, ping_interval=None) as self._socket:
            await self._send({"type": "start", "format": "s16le", "sample_rate": RATE_HZ, "channels": 1})
            tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._microphone())]
            try:
                await self.until(0, "ready")
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def type(self, text: str) -> float:
        """A typed turn; returns when it was sent."""
        at_s = time.monotonic()
        await self._send({"type": "text", "text": text})
        return at_s

    async def interrupt(self) -> None:
        """Tap."""
        await self._send({"type": "interrupt"})

    async def speak(self, sentence: NDArray[np.int16]) -> Spoken:
        """Say it into the microphone; returns once its last sample was spoken."""
        loud = np.flatnonzero(np.abs(sentence.astype(np.int32)) > _LOUD)
        began_s = self._sent_at_s
        self._voice = sentence
        while len(self._voice) and not self.ended:  # noqa: ASYNC110 - the microphone takes it block by block
            await asyncio.sleep(0.01)
        self._check()
        return Spoken(began_s + loud[0] / RATE_HZ, began_s + (loud[-1] + 1) / RATE_HZ)

    async def until(self, since: int, kind: str, patience_s: float = 60.0, **fields: Any) -> Told:
        """The first message of this kind with these fields from the one of number `since` on; raises TurnLost."""
        seen = since
        try:
            async with asyncio.timeout(patience_s), self._news:
                while True:
                    while seen < len(self.told):
                        each = self.told[seen]
                        seen += 1
                        if each.message["type"] == kind and fields.items() <= each.message.items():
                            return each
                    self._check()
                    await self._news.wait()
        except TimeoutError:
            what = " ".join([kind, *(f"{name}={value}" for name, value in fields.items())])
            raise TurnLost(f"no {what} within {patience_s:g} s") from None

    async def newest_task(self) -> dict[str, Any] | None:
        """The speech of the channel that was begun last."""
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as http:
            tasks: list[dict[str, Any]] = (await http.get("/v1/tasks")).json()["tasks"]
        return max(tasks, key=lambda task: str(task["created_at"]), default=None)

    def _check(self) -> None:
        if self.ended:
            raise TurnLost(f"the conversation has ended: {self.ended}")

    async def _send(self, message: dict[str, Any]) -> None:
        assert self._socket is not None
        self._check()
        await self._socket.send(json.dumps(message))

    async def _listen(self) -> None:
        assert self._socket is not None
        try:
            async for text in self._socket:
                async with self._news:
                    self.told.append(Told(time.monotonic(), json.loads(text)))
                    self._news.notify_all()
        except ConnectionClosed:
            pass  # told below
        async with self._news:
            messages = [each.message for each in self.told]
            reason = messages[-1].get("reason", "no reason") if messages else "no reason"
            said = [message["message"] for message in messages[-3:] if message["type"] == "error"]
            self.ended = f"{reason} ({self._socket.close_code}) {' '.join(said)}".strip()
            self._news.notify_all()

    async def _microphone(self) -> None:
        """Blocks of 20 ms, each once its last sample was spoken."""
        assert self._socket is not None
        began_s, sent = time.monotonic(), 0
        while not self.ended:
            self._sent_at_s = began_s + sent / RATE_HZ
            await asyncio.sleep(self._sent_at_s + _BLOCK / RATE_HZ - time.monotonic())
            block = np.zeros(_BLOCK, np.int32)
            voice, self._voice = self._voice[:_BLOCK], self._voice[_BLOCK:]
            block[: len(voice)] = voice
            if self.bleed is not None:
                block += self.bleed(_BLOCK)
            try:
                await self._socket.send(np.clip(block, -32768, 32767).astype("<i2").tobytes())
            except ConnectionClosed:
                return  # who listens tells why
            sent += _BLOCK
