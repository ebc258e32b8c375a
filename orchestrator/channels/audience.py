"""Who watches by WebRTC: a process for each channel that somebody watches, and the sessions of its viewers."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio

from orchestrator.settings import Settings
from streaming.webrtc.config import WebRtcConfig
from streaming.webrtc.counts import ViewerCounts
from streaming.webrtc.handle import WebRtcHandle

_IDLE_S = 300.0
"""How long a process stays without viewers: one that comes back must not wait for a new one."""
_LOOK_S = 2.0
_TOKEN_BYTES = 24

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """One viewer: `id` can't be guessed, `etag` names its ICE session, and only `owner` may change it.

    It is ended once it `stays` no longer: the key that began it may be removed.
    """

    id: str
    owner: str
    etag: str
    answer: str
    stays: Callable[[], bool]


class _ChannelAudience:
    """The viewers of one channel."""

    def __init__(self, config: WebRtcConfig, log_dir: Path, clock: Callable[[], float]) -> None:
        self.sessions: dict[str, Session] = {}
        self.handle: WebRtcHandle | None = None
        self.starting = 0
        self._config = config
        self._log_dir = log_dir
        self._clock = clock
        self._lock = asyncio.Lock()
        self._used_at = clock()

    async def warm(self) -> WebRtcHandle:
        """The process, started where there is none; raises WebRtcGone."""
        async with self._lock:
            self._used_at = self._clock()
            if self.handle is None or not self.handle.alive:
                if self.handle is not None:
                    await self.handle.aclose()
                self.handle = await WebRtcHandle.start(self._config, self._log_dir, self._ended)
            return self.handle

    async def end_if_idle(self) -> None:
        """Ends a process that nobody has used for a while."""
        if self.sessions or self.starting:
            self._used_at = self._clock()
        elif self.handle is not None and self._clock() - self._used_at > _IDLE_S:
            await self.aclose()

    async def aclose(self) -> None:
        """Ends the process and all sessions."""
        async with self._lock:
            if self.handle is not None:
                await self.handle.aclose()
                self.handle = None
            self.sessions.clear()

    def _ended(self, session_id: str) -> None:
        self.sessions.pop(session_id, None)
        self._used_at = self._clock()


class Audiences:
    """The viewers of all channels. `run` ends what nobody uses, and everything when it is cancelled."""

    def __init__(
        self,
        settings: Settings,
        packet_sockets: Callable[[], Mapping[str, Path]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`packet_sockets` are those of the channels that there are, by their names."""
        self._settings = settings
        self._packet_sockets = packet_sockets
        self._clock = clock
        self._by_channel: dict[str, _ChannelAudience] = {}

    def viewers(self, channel: str) -> int:
        """How many watch a channel, or are about to."""
        audience = self._by_channel.get(channel)
        return 0 if audience is None else len(audience.sessions) + audience.starting

    @property
    def counts(self) -> dict[str, ViewerCounts]:
        """What the viewers of each channel count that has a process."""
        return {
            name: audience.handle.counts for name, audience in self._by_channel.items() if audience.handle is not None
        }

    def process(self, channel: str) -> WebRtcHandle | None:
        """The channel's process, None where it has none."""
        audience = self._by_channel.get(channel)
        return None if audience is None else audience.handle

    async def warm(self, channel: str) -> None:
        """Starts the channel's process where there is none, since a viewer is about to come; raises WebRtcGone."""
        await self._audience(channel).warm()

    async def admit(
        self, channel: str, owner: str, offer: str, loopback: bool, stays: Callable[[], bool] = lambda: True
    ) -> Session:
        """A new viewer of `owner`, which is on this machine where `loopback`; raises OfferRefused and WebRtcGone."""
        audience = self._audience(channel)
        session_id = secrets.token_urlsafe(_TOKEN_BYTES)
        audience.starting += 1
        try:
            handle = await audience.warm()
            answer = await handle.offer(session_id, owner, offer, loopback)
            session = Session(session_id, owner, f'"{secrets.token_hex(8)}"', answer, stays)
            audience.sessions[session_id] = session
        finally:
            audience.starting -= 1
        return session

    def find(self, channel: str, session_id: str, owner: str) -> Session | None:
        """The session; None where there is none, or it is another's."""
        audience = self._by_channel.get(channel)
        session = None if audience is None else audience.sessions.get(session_id)
        return session if session is not None and session.owner == owner else None

    async def end(self, channel: str, session: Session) -> None:
        """Ends a session."""
        audience = self._by_channel[channel]
        audience.sessions.pop(session.id, None)
        if audience.handle is not None:
            await audience.handle.close(session.id)

    async def run(self) -> None:
        """Ends processes that nobody uses, those of channels that were removed, and viewers that may stay no longer."""
        try:
            while True:
                await anyio.sleep(_LOOK_S)
                for name, audience in list(self._by_channel.items()):
                    for session in [each for each in audience.sessions.values() if not each.stays()]:
                        logger.info("%s is no more: its viewer of channel %s is ended", session.owner, name)
                        await self.end(name, session)
                    if name in self._packet_sockets():
                        await audience.end_if_idle()
                    else:
                        del self._by_channel[name]
                        await audience.aclose()
        finally:
            with anyio.CancelScope(shield=True):
                for audience in self._by_channel.values():
                    await audience.aclose()

    def _audience(self, channel: str) -> _ChannelAudience:
        if channel not in self._by_channel:
            first, last = self._settings.webrtc_port_range
            config = WebRtcConfig(
                channel=channel,
                packet_socket=str(self._packet_sockets()[channel]),
                first_port=first,
                last_port=last,
                listen_at=self._settings.webrtc_listen_at,
                announced=self._settings.webrtc_announced,
                most_peers=self._settings.preview_viewers,
            )
            self._by_channel[channel] = _ChannelAudience(config, self._settings.log_dir, self._clock)
        return self._by_channel[channel]
