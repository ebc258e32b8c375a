"""Sends units to one viewer, and answers its RTCP: in the place of aiortc's sender, which reads from a track."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import struct
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from aiortc import RTCRtpSender
from aiortc.codecs import is_rtx
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpSendParameters
from aiortc.rtp import (
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
)
from aiortc.stats import RTCStatsReport

from streaming.webrtc.capture_clock import CaptureClock
from streaming.webrtc.units import Unit

_HISTORY = 1024
"""Packets that are kept for a viewer that has lost them: some 4 s at 2.5 Mbit/s, as long as a receiver asks."""
_RESENT_A_SECOND = 500
"""A viewer that asks for more of them has a link that more packets only make worse."""
_REPORTS_KEPT = 16
_VERSION = 0x80
_MARKER = 0x80
_SHORT = 0xFFFF
_LONG = 0xFFFF_FFFF


@dataclass
class LinkStats:
    """What a viewer's receiver reports said last, and what was sent to it."""

    bytes_sent: int = 0
    packets_sent: int = 0
    packets_resent: int = 0
    keyframe_requests: int = 0
    fraction_lost: float = 0.0
    rtt_s: float | None = None


@dataclass(frozen=True)
class _Sent:
    number: int
    marker: int
    timestamp: int
    payload: bytes


class PacketSender:
    """One RTP stream to one viewer.

    aiortc calls `send`, `stop` and `_handle_rtcp_packet`, and reads the attributes that begin with an underscore.
    """

    def __init__(
        self,
        aiortc_sender: RTCRtpSender,
        clock: CaptureClock,
        heard: Callable[[], None],
        picture_lost: Callable[[], None],
        on_ready: Callable[[], None],
    ) -> None:
        """`heard` is called at each report of the viewer, `picture_lost` when it needs a keyframe."""
        self.kind = aiortc_sender.kind
        self.track = None
        self.transport: RTCDtlsTransport = aiortc_sender.transport
        self.stats = LinkStats()
        self.ready = asyncio.Event()
        self._ssrc = aiortc_sender._ssrc
        self._rtx_ssrc = aiortc_sender._rtx_ssrc
        self._stream_id = aiortc_sender._stream_id
        self._track_id = aiortc_sender._track_id
        self._enabled = True
        self._clock = clock
        self._heard = heard
        self._picture_lost = picture_lost
        self._on_ready = on_ready
        self._payload_type = 0
        self._rtx_payload_type: int | None = None
        # In the lower half: a number that wraps around soon breaks SRTP of some receivers when the first ones are lost.
        self._number = secrets.randbelow(1 << 15)
        self._rtx_number = secrets.randbelow(1 << 15)
        self._origin = secrets.randbits(32)
        self._history: list[_Sent | None] = [None] * _HISTORY
        self._last: Unit | None = None
        self._cname = ""
        self._reports: asyncio.Task[None] | None = None
        self._reported_at: OrderedDict[int, float] = OrderedDict()
        self._resent_until = 0.0
        self._resent_left = 0

    def setTransport(self, transport: RTCDtlsTransport) -> None:  # noqa: N802  # aiortc's name
        """The transport that audio and video share."""
        self.transport = transport

    async def send(self, parameters: RTCRtpSendParameters) -> None:
        """The connection is there: units may be sent from now on."""
        if self.ready.is_set():
            return
        codec = parameters.codecs[0]
        assert codec.payloadType is not None
        self._payload_type = codec.payloadType
        for other in parameters.codecs:
            if is_rtx(other) and other.parameters["apt"] == codec.payloadType:
                self._rtx_payload_type = other.payloadType
        self._cname = parameters.rtcp.cname or ""
        self.transport._register_rtp_sender(self, parameters)
        self._reports = asyncio.create_task(self._report_regularly(), name=f"webrtc-reports-{self.kind}")
        self.ready.set()
        self._on_ready()

    async def stop(self) -> None:
        """Says goodbye to the viewer."""
        if self._reports is None:
            return
        self._reports.cancel()
        await asyncio.wait({self._reports})
        self._reports = None
        self.transport._unregister_rtp_sender(self)
        await self._send_rtcp([RtcpByePacket(sources=[self._ssrc])])

    async def getStats(self) -> RTCStatsReport:  # noqa: N802  # aiortc's name
        """aiortc asks for it; `stats` has what is counted here."""
        return RTCStatsReport()

    async def send_unit(self, unit: Unit) -> None:
        """Sends all packets of a unit; raises ConnectionError when the viewer is gone."""
        timestamp = (self._origin + unit.timestamp) & _LONG
        last = len(unit.payloads) - 1
        for place, payload in enumerate(unit.payloads):
            marker = _MARKER if place == last and unit.kind == "video" else 0
            sent = self._history[self._number % _HISTORY] = _Sent(self._number, marker, timestamp, payload)
            await self.transport._send_rtp(self._packet(sent))
            self._number = (self._number + 1) & _SHORT
        self.stats.packets_sent += len(unit.payloads)
        self.stats.bytes_sent += sum(map(len, unit.payloads))
        first, self._last = self._last is None, unit
        if first:
            await self._report()  # without one a receiver plays sound and pictures by their arrival

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        self._heard()
        if isinstance(packet, (RtcpRrPacket, RtcpSrPacket)):
            for report in packet.reports:
                if report.ssrc == self._ssrc:
                    self._note_report(report)
        elif isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK:
            for number in packet.lost:
                await self._resend(number)
        elif isinstance(packet, RtcpPsfbPacket) and packet.fmt in (RTCP_PSFB_FIR, RTCP_PSFB_PLI):
            self.stats.keyframe_requests += 1
            self._picture_lost()

    def _note_report(self, report: RtcpReceiverInfo) -> None:
        self.stats.fraction_lost = report.fraction_lost / 256
        sent_at = self._reported_at.get(report.lsr)
        if sent_at is not None and report.dlsr:
            self.stats.rtt_s = max(0.0, time.monotonic() - sent_at - report.dlsr / 65536)

    async def _resend(self, number: int) -> None:
        sent = self._history[number % _HISTORY]
        if sent is None or sent.number != number or not self._may_resend():
            return
        if self._rtx_payload_type is None:
            packet = self._packet(sent)
        else:  # RFC 4588
            second, self._rtx_number = self._rtx_number, (self._rtx_number + 1) & _SHORT
            second_byte = sent.marker | self._rtx_payload_type
            header = struct.pack("!BBHIIH", _VERSION, second_byte, second, sent.timestamp, self._rtx_ssrc, number)
            packet = header + sent.payload
        self.stats.packets_resent += 1
        await self.transport._send_rtp(packet)

    def _packet(self, sent: _Sent) -> bytes:
        # No header extensions: the SSRCs of the answer tell sound and pictures apart, and nothing adapts to delays.
        second_byte = sent.marker | self._payload_type
        return struct.pack("!BBHII", _VERSION, second_byte, sent.number, sent.timestamp, self._ssrc) + sent.payload

    def _may_resend(self) -> bool:
        now = time.monotonic()
        if now >= self._resent_until:
            self._resent_until, self._resent_left = now + 1.0, _RESENT_A_SECOND
        self._resent_left -= 1
        return self._resent_left >= 0

    async def _report_regularly(self) -> None:
        while True:
            await asyncio.sleep(0.5 + random.random())  # RFC 3550, section 6.2: not in step with other senders
            await self._report()

    async def _report(self) -> None:
        if self._last is None or not self._clock.known:
            return
        ntp = self._clock.ntp(self._last.time_s)
        self._reported_at[ntp >> 16 & _LONG] = time.monotonic()
        if len(self._reported_at) > _REPORTS_KEPT:
            self._reported_at.popitem(last=False)
        info = RtcpSenderInfo(
            ntp_timestamp=ntp,
            rtp_timestamp=(self._origin + self._last.timestamp) & _LONG,
            packet_count=self.stats.packets_sent & _LONG,
            octet_count=self.stats.bytes_sent & _LONG,
        )
        name = RtcpSourceInfo(ssrc=self._ssrc, items=[(1, self._cname.encode())])
        await self._send_rtcp([RtcpSrPacket(ssrc=self._ssrc, sender_info=info), RtcpSdesPacket(chunks=[name])])

    async def _send_rtcp(self, packets: list[AnyRtcpPacket]) -> None:
        with contextlib.suppress(ConnectionError):  # whoever closes the peer learns it from its connection
            await self.transport._send_rtp(b"".join(bytes(packet) for packet in packets))
