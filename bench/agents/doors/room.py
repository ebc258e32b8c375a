"""An avatar in a LiveKit room: bey's call, and the speech by the agents' own audio output. The room is in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import httpx
from livekit import rtc
from livekit.agents.voice.avatar import DataStreamAudioOutput

from bench.agents.doors.door import RATE_HZ, Line, Playback, SoundLine
from bench.agents.rooms import URL, Hall, MemoryRoom, token
from bench.agents.server import AgentsServer
from orchestrator.http.agents.livekit import avatar_room

_AVATAR = "avatar"
_LOOK_S, _RETURN_S = 0.05, 0.1


class RoomDoor:
    """`/v1/sessions` of `livekit-plugins-bey`, in rooms of this hall; leaving it ends the session."""

    name = "room"
    of_text = False
    overtakes = True

    def __init__(self) -> None:
        self._hall = Hall()

    @asynccontextmanager
    async def line(self, server: AgentsServer, channel_id: str) -> AsyncIterator[Line]:
        """An agent's room, with an avatar in it."""
        room = self._hall.room()
        await room.connect(URL, token("agent"))
        body = {
            "avatar_id": server.orchestrator.settings.avatar,
            "url": URL,
            "token": token(_AVATAR, **{"lk.publish_on_behalf": "agent"}),
        }
        # The server doesn't wait long here for an agent that has left.
        with mock.patch.multiple(avatar_room, new_room=self._hall.room, _LOOK_S=_LOOK_S, _RETURN_S=_RETURN_S):
            async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
                answer = await http.post("/v1/sessions", json=body)
                answer.raise_for_status()
            line = _RoomLine(room, answer.json()["channel"])
            try:
                yield line
            finally:
                await line.die()
                while self._hall.rooms[room.name]:  # noqa: ASYNC110 - the avatar is about to leave
                    await asyncio.sleep(_LOOK_S)


class _RoomLine(SoundLine):
    def __init__(self, room: MemoryRoom, channel_id: str) -> None:
        super().__init__()
        self.channel_id = channel_id
        self._room = room
        self._output = DataStreamAudioOutput(
            room,
            destination_identity=_AVATAR,
            wait_remote_track=rtc.TrackKind.KIND_VIDEO,
            sample_rate=RATE_HZ,
            wait_playback_start=True,
            clear_buffer_timeout=None,  # else it makes up a report of its own where one is missing
        )
        self._output.on("playback_started", lambda event: self._note_started())
        self._output.on("playback_finished", self._finished)

    def _finished(self, event: Any) -> None:
        self._note(Playback(event.playback_position, event.interrupted))

    async def _open(self) -> None:
        return

    async def _put(self, block: bytes) -> None:
        await self._output.capture_frame(rtc.AudioFrame(block, RATE_HZ, 1, len(block) // 2))

    async def _close(self) -> None:
        self._output.flush()

    async def interrupt(self) -> None:
        self._output.clear_buffer()
        self._output.flush()

    async def die(self) -> None:
        await self._room.disconnect()
