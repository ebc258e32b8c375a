"""OpenAI's audio/speech: a text in, its sound out; the end of that sound is all that its clients are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from bench.agents.doors.door import Line, LineLost, Playback
from bench.agents.server import AgentsServer
from bench.agents.tones import Sound

_RATE_HZ = 24_000
_PIECE_BYTES = 4_800
_FINAL = ("done", "failed", "cancelled")


class AudioSpeechDoor:
    """`POST /v1/audio/speech`; the tasks that it names tell what was heard."""

    name = "audio/speech"
    of_text = True
    overtakes = False

    @asynccontextmanager
    async def line(self, server: AgentsServer, channel_id: str) -> AsyncIterator[Line]:
        """A client of this channel."""
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
            line = _AudioSpeechLine(http, channel_id)
            try:
                yield line
            finally:
                await line.die()


class _AudioSpeechLine(Line):
    outlives = True  # it looks at the task

    def __init__(self, http: httpx.AsyncClient, channel_id: str) -> None:
        super().__init__()
        self.channel_id = channel_id
        self._http = http
        self._following: set[asyncio.Task[None]] = set()
        self._receiving: set[asyncio.Task[None]] = set()

    async def _say(self, sound: Sound, pace: float | None) -> None:
        """The pace is that at which the client takes the sound."""
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        receiving = asyncio.create_task(self._receive(sound, pace, begun))
        self._receiving.add(receiving)
        receiving.add_done_callback(self._receiving.discard)
        await asyncio.shield(begun)
        self._note_sent()

    async def interrupt(self) -> None:
        (await self._http.post(f"/v1/channels/{self.channel_id}/interrupt")).raise_for_status()

    async def die(self) -> None:
        for task in [*self._receiving]:
            task.cancel()
        await asyncio.gather(*self._receiving, return_exceptions=True)
        await asyncio.gather(*self._following)

    async def _receive(self, sound: Sound, pace: float | None, begun: asyncio.Future[None]) -> None:
        body = {"model": self.channel_id, "voice": "alloy", "input": sound.text, "response_format": "pcm"}
        async with self._http.stream("POST", "/v1/audio/speech", json=body) as answer:
            if answer.status_code != httpx.codes.OK:
                begun.set_exception(LineLost(f"audio/speech answered {answer.status_code}"))
                return
            begun.set_result(None)
            following = asyncio.create_task(self._follow(answer.headers["Location"]))
            self._following.add(following)
            following.add_done_callback(self._following.discard)
            async for piece in answer.aiter_bytes(_PIECE_BYTES):
                if pace is not None:
                    await asyncio.sleep(len(piece) / 2 / _RATE_HZ / pace)

    async def _follow(self, task: str) -> None:
        began = False
        while (now := (await self._http.get(task)).json())["state"] not in _FINAL:
            if now["state"] == "streaming" and not began:
                began = True
                self._note_started()
            await asyncio.sleep(0.005)
        self._note(Playback(now["frames"]["heard"] / 25, now["state"] == "cancelled"))
