"""One room that an avatar has joined, from joining to leaving."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from livekit import rtc
from livekit.rtc.participant import PublishTrackError

from orchestrator.http.agents.livekit.room_media import RoomMedia
from orchestrator.http.agents.livekit.room_speech import RoomSpeech
from orchestrator.orchestrator import Orchestrator

_ON_BEHALF = "lk.publish_on_behalf"
_JOIN_S = 15.0
_RETURN_S = 20.0
"""How long an agent may be away: it comes back after a network change."""
_LOOK_S = 1.0

logger = logging.getLogger(__name__)


class RoomUnreachable(RuntimeError):
    """The room can't be joined; the message says why."""


class AvatarRoom:
    """Joins, publishes, says what the agent sends, and leaves when the agent, the room or the channel is gone."""

    def __init__(
        self,
        orchestrator: Orchestrator,
        channel_id: str,
        packets: Path,
        picture_size: tuple[int, int],
        stays: Callable[[], bool] = lambda: True,
    ) -> None:
        """It also leaves where it doesn't stay any more."""
        self._stays = stays
        self._orchestrator = orchestrator
        self._channel_id = channel_id
        self._room = new_room()
        self._media = RoomMedia(packets, picture_size)
        self._speech: RoomSpeech | None = None
        self._agent = ""
        self._gone = asyncio.Event()

    async def join(self, url: str, token: str) -> None:
        """Join the room and publish; raises RoomUnreachable, and then nothing is left of it."""
        try:
            async with asyncio.timeout(_JOIN_S):
                await self._room.connect(url, token, rtc.RoomOptions(auto_subscribe=False))
                self._agent = self._room.local_participant.attributes.get(_ON_BEHALF, "")
                if not self._agent:
                    raise RoomUnreachable(f"the token has no attribute {_ON_BEHALF}, which names the agent")
                self._speech = RoomSpeech(self._orchestrator, self._channel_id, self._room, self._agent)
                self._speech.listen()
                self._room.on("disconnected", self._on_disconnected)
                await self._media.publish(self._room)
        except BaseException as error:
            await self._leave()
            if isinstance(error, TimeoutError):
                raise RoomUnreachable(f"it didn't answer within {_JOIN_S:g} s") from None
            if isinstance(error, (rtc.ConnectError, PublishTrackError)):
                raise RoomUnreachable(str(error)) from None
            raise

    async def run(self) -> None:
        """Until the agent, the room or the channel is gone, or the server stops; then it leaves."""
        assert self._speech is not None, "not joined"
        work = [asyncio.create_task(self._speech.run()), asyncio.create_task(self._media.run())]
        ending = asyncio.create_task(self._until_the_end(self._speech))
        try:
            await asyncio.wait({*work, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (ending, *work):
                task.cancel()
            results = await asyncio.gather(ending, *work, return_exceptions=True)
            await self._leave()
        for result in results:
            if isinstance(result, Exception):
                logger.error("the room of channel %s", self._channel_id, exc_info=result)

    async def _until_the_end(self, speech: RoomSpeech) -> None:
        stopping = self._orchestrator.stopping
        away_since: float | None = None
        clock = asyncio.get_running_loop().time
        while not stopping.is_set() and not self._gone.is_set() and self._channel_id in self._orchestrator.channels:
            if not self._stays():
                logger.info("channel %s: the key that brought it into the room is no more", self._channel_id)
                return
            if self._agent in self._room.remote_participants:
                away_since = None
            elif away_since is None:
                away_since = clock()
            elif clock() - away_since > _RETURN_S:
                logger.info("channel %s: the agent has left the room", self._channel_id)
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), _LOOK_S)
        if stopping.is_set():
            await speech.quiet()

    def _on_disconnected(self) -> None:
        self._gone.set()

    async def _leave(self) -> None:
        if self._room.isconnected():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._room.disconnect(), _JOIN_S)
        await self._media.aclose()


def new_room() -> rtc.Room:
    """A room to join."""
    return rtc.Room()
