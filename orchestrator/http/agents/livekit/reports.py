"""What an agent is told of its segments: in their order, and of each that it is over exactly once."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field

from livekit import rtc

_STARTED, _FINISHED = "lk.playback_started", "lk.playback_finished"
_ATTEMPTS = 3
_PAUSE_S = 0.1
# After these the agent can't have taken the call. After others, such as an answer that came too late, it may have: a
# second report would be taken for that of the next segment.
_NOT_TAKEN = (
    rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD,
    rtc.RpcError.ErrorCode.RECIPIENT_NOT_FOUND,
    rtc.RpcError.ErrorCode.SEND_FAILED,
    rtc.RpcError.ErrorCode.CONNECTION_TIMEOUT,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Playback:
    """How a segment ended: `position_s` is how much of it was heard."""

    position_s: float
    interrupted: bool


@dataclass(eq=False)
class Report:
    """One segment's, which is filled in as it plays."""

    _started: asyncio.Event = field(default_factory=asyncio.Event)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _playback: Playback | None = None

    def start(self) -> None:
        """Its first sound is heard."""
        self._started.set()

    def finish(self, playback: Playback) -> None:
        """It is over; only the first time counts."""
        if self._playback is None:
            self._playback = playback
            self._over.set()
            self._started.set()

    @property
    def begun(self) -> bool:
        """Whether something of it was heard."""
        return self._started.is_set() and (self._playback is None or self._playback.position_s > 0)

    async def until_started(self) -> None:
        """Wait until it is heard, or over."""
        await self._started.wait()

    async def playback(self) -> Playback:
        """Wait until it is over."""
        await self._over.wait()
        assert self._playback is not None
        return self._playback


class Reports:
    """Sends those of one room's segments to the agent, one after another."""

    def __init__(self, room: rtc.Room, agent: str) -> None:
        self._room = room
        self._agent = agent
        self._waiting: asyncio.Queue[Report] = asyncio.Queue()

    @property
    def waiting(self) -> int:
        """How many are yet to be sent, but for the one that is being sent."""
        return self._waiting.qsize()

    def open(self) -> Report:
        """That of the next segment."""
        report = Report()
        self._waiting.put_nowait(report)
        return report

    async def run(self) -> None:
        """Send them until it is cancelled."""
        while True:
            report = await self._waiting.get()
            try:
                await report.until_started()
                if report.begun:
                    await self._call(_STARTED, "")
                playback = await report.playback()
                values = {"playback_position": playback.position_s, "interrupted": playback.interrupted}
                await self._call(_FINISHED, json.dumps(values))
            finally:
                self._waiting.task_done()

    async def sent(self) -> None:
        """Wait until all were sent."""
        await self._waiting.join()

    async def _call(self, method: str, payload: str) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            if not self._room.isconnected():
                return
            try:
                await self._room.local_participant.perform_rpc(
                    destination_identity=self._agent, method=method, payload=payload
                )
                return
            except rtc.RpcError as error:
                if method == _STARTED and error.code == rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD:
                    return  # agents that don't wait for it don't register it
                if attempt == _ATTEMPTS or error.code not in _NOT_TAKEN:
                    has_left = self._agent not in self._room.remote_participants
                    level = logging.INFO if has_left else logging.ERROR
                    logger.log(level, "the agent %s didn't take %s: %s", self._agent, method, error)
                    return
            await asyncio.sleep(_PAUSE_S)
