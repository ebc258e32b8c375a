"""One viewer: its connection from the offer to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)

from streaming.webrtc.capture_clock import CaptureClock
from streaming.webrtc.ports import Ports
from streaming.webrtc.sdp import BadOffer
from streaming.webrtc.sender import LinkStats, PacketSender
from streaming.webrtc.units import Kind, Unit

_log = logging.getLogger(__name__)

_SENT_CODECS = {Kind.VIDEO: ("video/H264", "video/rtx"), Kind.AUDIO: ("audio/opus",)}
_MOST_WAITING_BYTES = 256_000
"""Bytes that a full network card may hold back; a viewer beyond it loses pictures until the next keyframe."""


class Peer:
    """A connection that sends sound and pictures.

    `on_ready` is called once they may be sent, `on_lost` when the viewer needs a keyframe, and `on_end` when the
    connection has ended by itself.
    """

    def __init__(
        self,
        owner: str,
        clock: CaptureClock,
        monotonic: Callable[[], float],
        on_ready: Callable[[Peer], None],
        on_lost: Callable[[], None],
        on_end: Callable[[Peer, str], None],
    ) -> None:
        self.owner = owner
        self.created_at = self.heard_at = monotonic()
        self._clock = clock
        self._monotonic = monotonic
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._on_end = on_end
        # Not None, for which aiortc takes a STUN server of Google's.
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._senders: dict[Kind, PacketSender] = {}
        self._waits_for_keyframe = True
        self._ended = False
        self._connection.on("connectionstatechange", self._state_changed)

    @property
    def connected(self) -> bool:
        """Whether sound and pictures go out."""
        return self._connection.connectionState == "connected"

    @property
    def stats(self) -> Sequence[LinkStats]:
        """What each of the two streams counts."""
        return [sender.stats for sender in self._senders.values()]

    async def answer(self, offer: str, kinds: Sequence[str], ports: Ports, loopback: bool) -> str:
        """The SDP answer to an offer that `checked_offer` let pass; raises BadOffer and NoPort."""
        for kind in map(Kind, kinds):  # before the remote description, which chooses the codecs
            self._add_sender(kind)
        dtls = self._connection.getTransceivers()[0].receiver.transport
        ports.give(dtls.transport._connection, loopback)
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            if dtls._role == "auto":
                # As DTLS client aiortc takes ECDSA certificates alone, and GStreamer's are RSA.
                dtls._set_role("server")
            answer = await self._connection.createAnswer()
        except Exception as error:  # noqa: BLE001  # aiortc raises whatever it happens to trip over: AssertionError, IndexError …
            _log.info("an offer was refused: %r", error)
            raise BadOffer(f"the offer can't be answered ({type(error).__name__}: {error})"[:300]) from None
        await self._connection.setLocalDescription(answer)
        return self._connection.localDescription.sdp

    async def offer(self) -> str:
        """An SDP offer to a server that takes the stream; ports and addresses are any of this machine."""
        for kind in Kind:
            self._add_sender(kind)
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return self._connection.localDescription.sdp

    async def accept(self, answer: str) -> None:
        """Connects to the server that gave this answer; raises BadOffer."""
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        except Exception as error:  # noqa: BLE001  # aiortc raises whatever it happens to trip over
            raise BadOffer(f"the answer can't be used ({type(error).__name__}: {error})"[:300]) from None

    async def send(self, unit: Unit) -> None:
        """Sends a unit; a picture that depends on one that was left out is left out too."""
        sender = self._senders.get(unit.kind)
        if sender is None or not sender.ready.is_set():
            return
        if unit.kind is Kind.VIDEO:
            if self._waits_for_keyframe and not unit.keyframe:
                return
            if self._waiting_bytes() > _MOST_WAITING_BYTES:
                self._waits_for_keyframe = True
                self._on_lost()
                return
            self._waits_for_keyframe = False
        try:
            await sender.send_unit(unit)
        except ConnectionError:
            self._end("its connection is closed")

    async def close(self) -> None:
        """Says goodbye and frees the port."""
        self._ended = True
        await self._connection.close()

    def _add_sender(self, kind: Kind) -> None:
        transceiver = self._connection.addTransceiver(kind.value, direction="sendonly")
        sender = PacketSender(transceiver.sender, self._clock, self._heard, self._on_lost, self._sender_ready)
        transceiver.__dict__["_RTCRtpTransceiver__sender"] = sender  # aiortc has no place to say which one
        wanted = _SENT_CODECS[kind]
        codecs = [codec for codec in RTCRtpSender.getCapabilities(kind.value).codecs if codec.mimeType in wanted]
        transceiver.setCodecPreferences(codecs)
        self._senders[kind] = sender

    def _heard(self) -> None:
        self.heard_at = self._monotonic()

    def _sender_ready(self) -> None:
        if all(sender.ready.is_set() for sender in self._senders.values()):
            self._heard()
            self._on_ready(self)

    def _waiting_bytes(self) -> int:
        transport = next(iter(self._senders.values())).transport.transport
        pair = transport._connection._nominated.get(1)
        if pair is None:
            return 0
        waiting: int = pair.protocol.transport.get_write_buffer_size()  # type: ignore[attr-defined]  # asyncio's has it
        return waiting

    def _state_changed(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            self._end(f"its connection is {self._connection.connectionState}")

    def _end(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(self, reason)


def stays_silent(peer: Peer, now: float, pending_s: float, silent_s: float) -> str | None:
    """Why a viewer counts as gone, which never connected or whose reports have stopped; None for one that is there."""
    if not peer.connected:
        return f"it did not connect within {pending_s:.0f} s" if now - peer.created_at > pending_s else None
    return f"it reported nothing for {silent_s:.0f} s" if now - peer.heard_at > silent_s else None
