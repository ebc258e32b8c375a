"""The ways to speak that are measured: an upload, a socket whose sound is ready, and a microphone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import connect

from bench.stream.stand_ins import as_wav
from streaming.config import SAMPLE_RATE_HZ

_BLOCK_S = 0.01
"""Of a microphone: what the page sends at once."""
_POLL_S = 0.2
_SETTLED_S = 1.2
"""After a speech until the next one: the channel reports each second."""
_FINAL = ("done", "failed", "cancelled")


class SpeechFailed(RuntimeError):
    """A speech was refused, or didn't come to its end."""


@dataclass(frozen=True)
class Said:
    """One speech: when it was asked for, by the monotonic clock, and its task at the end.

    `asked_at` of a microphone is when its first sample was spoken.
    """

    channel: str
    asked_at: float
    over_at: float
    task: dict[str, Any]

    @property
    def encoded_at(self) -> float:
        """When its first frame came out of the encoder, by the monotonic clock."""
        return self._at("encoded")

    @property
    def opus_at(self) -> float:
        """When picture and Opus of its first frame did."""
        return self._at("encoded_opus")

    def _at(self, stage: str) -> float:
        created_at = datetime.fromisoformat(self.task["created_at"]).timestamp()
        return float(created_at + self.task["timings_s"][stage]) - (time.time() - time.monotonic())


class SpeechClient:
    """Speaks on one channel of a server, one speech after another."""

    def __init__(self, url: str, channel: str) -> None:
        self._url = url
        self._channel = channel

    async def upload(self, speech: NDArray[np.int16]) -> Said:
        """A file, int16 [n] at 48 kHz; raises SpeechFailed."""
        wav = as_wav(speech)
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as http:
            asked_at = time.monotonic()
            files = {"audio_file": ("speech.wav", wav)}
            answer = await http.post("/v1/tasks", files=files, data={"channel": self._channel})
            if not answer.is_success:
                raise SpeechFailed(f"the upload was refused: {answer.text}")
            return await self._to_its_end(http, asked_at, answer.json()["task_id"])

    async def stream(self, speech: NDArray[np.int16]) -> Said:
        """All of it over a socket that is open already, as fast as it is taken; raises SpeechFailed."""
        return await self._live(speech, "stream", 0.0)

    async def microphone(self, speech: NDArray[np.int16]) -> Said:
        """At the pace of a microphone; raises SpeechFailed."""
        return await self._live(speech, "microphone", _BLOCK_S)

    async def _live(self, speech: NDArray[np.int16], source: str, pace_s: float) -> Said:
        url = f"{self._url.replace('http', 'ws', 1)}/v1/channels/{self._channel}/speech"
        start = {"type": "start", "sample_rate": SAMPLE_RATE_HZ, "channels": 1, "format": "s16le", "source": source}
        async with connect(url) as socket, httpx.AsyncClient(base_url=self._url, timeout=60) as http:
            asked_at = time.monotonic()
            await socket.send(json.dumps(start))

            async def send() -> None:
                async with aclosing(_blocks(speech, asked_at, pace_s)) as blocks:
                    async for block in blocks:
                        await socket.send(block)
                await socket.send(json.dumps({"type": "end"}))

            sending = asyncio.create_task(send())
            task_id = ""
            try:
                async for text in socket:
                    message = json.loads(text)
                    if message["type"] == "error":
                        raise SpeechFailed(str(message["message"]))
                    if message["type"] == "accepted":
                        task_id = message["task_id"]
                    if message["type"] == "ended":
                        return await self._to_its_end(http, asked_at, task_id)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        raise SpeechFailed("the server closed the socket before the speech had ended")

    async def _to_its_end(self, http: httpx.AsyncClient, asked_at: float, task_id: str) -> Said:
        while (task := (await http.get(f"/v1/tasks/{task_id}")).json())["state"] not in _FINAL:  # noqa: ASYNC110 - it runs elsewhere
            await asyncio.sleep(_POLL_S)
        over_at = time.monotonic()
        if task["state"] != "done" or "encoded" not in task["timings_s"]:
            raise SpeechFailed(f"a speech ended {task['state']}: {task['error']}")
        await asyncio.sleep(_SETTLED_S)
        return Said(self._channel, asked_at, over_at, task)


async def _blocks(speech: NDArray[np.int16], begun_at: float, pace_s: float) -> AsyncGenerator[bytes, None]:
    """The speech in blocks; with a pace each one when its last sample has been spoken."""
    size = round((pace_s or 0.1) * SAMPLE_RATE_HZ)
    for first in range(0, len(speech), size):
        if pace_s:
            spoken_at = begun_at + (first + size) / SAMPLE_RATE_HZ
            await asyncio.sleep(max(0.0, spoken_at - time.monotonic()))
        yield speech[first : first + size].astype("<i2").tobytes()
