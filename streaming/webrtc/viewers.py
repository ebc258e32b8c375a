"""All viewers of one channel, by their sessions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from streaming.webrtc.capture_clock import CaptureClock
from streaming.webrtc.config import WebRtcConfig
from streaming.webrtc.counts import ViewerCounts
from streaming.webrtc.feed import Feed
from streaming.webrtc.peer import Peer, stays_silent
from streaming.webrtc.ports import Ports
from streaming.webrtc.sdp import announced, checked_offer
from streaming.webrtc.sender import LinkStats
from streaming.webrtc.units import Unit

_log = logging.getLogger(__name__)

_PENDING_S = 10.0
_SILENT_S = 12.0
"""Browsers report once a second, others each 5 s, give or take half of it."""
_LOOK_S = 1.0


class TooManyViewers(RuntimeError):
    """No more viewers are let in now."""


class Viewers:
    """Lets viewers in, sends them what the feed brings, and drops those who have gone.

    `on_end` is called with the session and the reason when a viewer goes by itself.
    """

    def __init__(
        self,
        config: WebRtcConfig,
        on_end: Callable[[str, str], None],
        monotonic: Callable[[], float] = time.monotonic,
        pending_s: float = _PENDING_S,
        silent_s: float = _SILENT_S,
    ) -> None:
        self._config = config
        self._on_end = on_end
        self._monotonic = monotonic
        self._pending_s = pending_s
        self._silent_s = silent_s
        self._clock = CaptureClock(time.time(), time.monotonic())
        self._ports = Ports(config.first_port, config.last_port, config.listen_at)
        self._feed = Feed(Path(config.packet_socket), self._clock, self._send, monotonic)
        self._peers: dict[str, Peer] = {}
        self._joined: set[Peer] = set()
        self._left = LinkStats()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def counts(self) -> ViewerCounts:
        """How many there are, and what they got."""
        links = [stats for peer in self._peers.values() for stats in peer.stats]
        everything = [self._left, *links]
        return ViewerCounts(
            viewers=len(self._joined),
            pending=len(self._peers) - len(self._joined),
            bytes_sent=sum(each.bytes_sent for each in everything),
            packets_sent=sum(each.packets_sent for each in everything),
            packets_resent=sum(each.packets_resent for each in everything),
            keyframe_requests=sum(each.keyframe_requests for each in everything),
            worst_fraction_lost=max((each.fraction_lost for each in links), default=0.0),
            worst_rtt_s=max((each.rtt_s for each in links if each.rtt_s is not None), default=0.0),
        )

    async def run(self) -> None:
        """Sends and looks after the viewers until it is cancelled; then all of them are gone."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._feed.run(), name="webrtc-feed")
                group.create_task(self._look_regularly(), name="webrtc-look")
        finally:
            for session in list(self._peers):
                self._drop(session)
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def answer(self, session: str, owner: str, sdp: str, loopback: bool) -> str:
        """The SDP answer to a viewer's offer, who is a new session then.

        Raises BadOffer, NoCommonCodec, NoPort and TooManyViewers.
        """
        self._require_place(owner)
        text, kinds = checked_offer(sdp)
        peer = Peer(owner, self._clock, self._monotonic, self._ready, self._feed.request_keyframe, self._peer_ended)
        self._peers[session] = peer
        try:
            answer = await peer.answer(text, kinds, self._ports, loopback)
        except BaseException:
            self._drop(session)
            raise
        return announced(answer, self._config.announced)

    def close(self, session: str) -> bool:
        """Ends a session; False where there is none."""
        return self._drop(session)

    def _require_place(self, owner: str) -> None:
        pending = [peer for peer in self._peers.values() if peer not in self._joined]
        own = sum(peer.owner == owner for peer in pending)
        if len(self._peers) >= self._config.most_peers:
            raise TooManyViewers(f"{len(self._peers)} viewers are connected, which is the limit")
        if len(pending) >= self._config.most_pending or own >= max(1, self._config.most_pending // 2):
            raise TooManyViewers(f"{own} of your viewers, and {len(pending)} in all, have not connected yet")

    def _ready(self, peer: Peer) -> None:
        self._background(self._join(peer))

    async def _join(self, peer: Peer) -> None:
        """Begins a viewer's picture with the latest keyframe, or with one that is asked for."""
        if peer not in self._peers.values():
            return
        burst = list(self._feed.burst())
        if not burst:
            self._feed.request_keyframe()
        self._joined.add(peer)  # what comes from now on follows the burst: sending over UDP never waits
        for unit in burst:
            await peer.send(unit)

    async def _send(self, unit: Unit) -> None:
        for peer in list(self._joined):
            await peer.send(unit)

    async def _look_regularly(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            now = self._monotonic()
            for peer in list(self._peers.values()):
                if reason := stays_silent(peer, now, self._pending_s, self._silent_s):
                    self._peer_ended(peer, reason)

    def _peer_ended(self, peer: Peer, reason: str) -> None:
        session = next((name for name, each in self._peers.items() if each is peer), None)
        if session is not None:
            _log.info("a viewer has gone: %s", reason)
            self._drop(session)
            self._on_end(session, reason)

    def _drop(self, session: str) -> bool:
        peer = self._peers.pop(session, None)
        if peer is None:
            return False
        self._joined.discard(peer)
        for stats in peer.stats:
            self._left.bytes_sent += stats.bytes_sent
            self._left.packets_sent += stats.packets_sent
            self._left.packets_resent += stats.packets_resent
            self._left.keyframe_requests += stats.keyframe_requests
        self._background(peer.close())
        return True

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
