"""One RTP stream to one viewer: its packets, its sender reports, and what it sends again."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from aiortc import RTCRtpSender
from aiortc.rtcrtpparameters import RTCRtcpParameters, RTCRtpCodecParameters, RTCRtpSendParameters
from aiortc.rtp import (
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    RtpPacket,
    is_rtcp,
)

from streaming.webrtc.capture_clock import CaptureClock
from streaming.webrtc.sender import PacketSender
from streaming.webrtc.units import Kind, Unit

H264 = RTCRtpCodecParameters("video/H264", 90_000, payloadType=102)
RTX = RTCRtpCodecParameters("video/rtx", 90_000, payloadType=103, parameters={"apt": 102})


class Transport:
    """Keeps what would be sent."""

    state = "connected"

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def _send_rtp(self, data: bytes) -> None:
        self.sent.append(data)

    def _register_rtp_sender(self, *_: Any) -> None: ...

    def _unregister_rtp_sender(self, *_: Any) -> None: ...

    def rtp(self) -> list[RtpPacket]:
        return [RtpPacket.parse(data) for data in self.sent if not is_rtcp(data)]

    def sender_reports(self) -> list[RtcpSrPacket]:
        packets = [packet for data in self.sent if is_rtcp(data) for packet in RtcpPacket.parse(data)]
        return [packet for packet in packets if isinstance(packet, RtcpSrPacket)]


class Calls:
    """Counts what the sender tells."""

    def __init__(self) -> None:
        self.heard = self.lost = self.ready = 0

    def hear(self) -> None:
        self.heard += 1

    def lose(self) -> None:
        self.lost += 1

    def be_ready(self) -> None:
        self.ready += 1


async def sender(
    transport: Transport, clock: CaptureClock, calls: Calls, kind: str = "video", *codecs: RTCRtpCodecParameters
) -> PacketSender:
    made = PacketSender(
        RTCRtpSender(kind, transport),  # type: ignore[arg-type]
        clock, calls.hear, calls.lose, calls.be_ready,
    )  # fmt: skip
    await made.send(RTCRtpSendParameters(codecs=list(codecs or (H264, RTX)), rtcp=RTCRtcpParameters(cname="name")))
    return made


def clock(captured_s: float = 100.0, time_s: float = 0.0) -> CaptureClock:
    made = CaptureClock(wall_s=1_000_000.0, monotonic_s=50.0)
    made.note(time_s, captured_s)
    return made


def picture(frame: int, *payloads: bytes) -> Unit:
    return Unit(Kind.VIDEO, payloads or (b"picture",), frame * 3600, frame / 25, keyframe=frame == 0)


async def test_packets_of_a_picture_share_its_time_and_the_last_is_marked() -> None:
    transport = Transport()
    stream = await sender(transport, clock(), Calls())
    await stream.send_unit(picture(0, b"one", b"two"))
    await stream.send_unit(picture(1, b"three"))
    first, second, third = transport.rtp()
    assert (first.payload, second.payload, third.payload) == (b"one", b"two", b"three")
    assert (first.marker, second.marker, third.marker) == (0, 1, 1)
    assert first.timestamp == second.timestamp
    assert (third.timestamp - first.timestamp) % (1 << 32) == 3600
    assert [second.sequence_number, third.sequence_number] == [first.sequence_number + 1, first.sequence_number + 2]
    await stream.stop()


async def test_sound_and_pictures_of_one_moment_are_reported_with_one_time_of_capture() -> None:
    transport, shared = Transport(), clock(captured_s=100.0)
    video = await sender(transport, shared, Calls())
    await video.send_unit(picture(25))
    await asyncio.sleep(0.1)  # the sound's encoder is later, and that must not show
    audio = await sender(transport, shared, Calls(), "audio", RTCRtpCodecParameters("audio/opus", 48_000, 2, 111))
    await audio.send_unit(Unit(Kind.AUDIO, (b"opus",), 48_000, 1.0, keyframe=True))
    one, other = (report.sender_info.ntp_timestamp for report in transport.sender_reports())
    assert one == other
    assert one / (1 << 32) == pytest.approx(1_000_000.0 + 50.0 + 1.0 + 2_208_988_800, abs=1e-3)
    await video.stop()
    await audio.stop()


async def test_a_lost_packet_is_sent_again_as_retransmission() -> None:
    transport = Transport()
    stream = await sender(transport, clock(), Calls())
    await stream.send_unit(picture(0, b"one", b"two"))
    lost = transport.rtp()[0]
    nack = RtcpRtpfbPacket(RTCP_RTPFB_NACK, ssrc=1, media_ssrc=stream._ssrc, lost=[lost.sequence_number])
    await stream._handle_rtcp_packet(nack)
    again = transport.rtp()[-1]
    assert (again.payload_type, again.ssrc, again.timestamp) == (103, stream._rtx_ssrc, lost.timestamp)
    assert again.payload == struct.pack("!H", lost.sequence_number) + b"one"
    assert stream.stats.packets_resent == 1
    await stream.stop()


async def test_a_viewer_without_retransmissions_gets_the_same_packet_again() -> None:
    transport = Transport()
    stream = await sender(transport, clock(), Calls(), "video", H264)
    await stream.send_unit(picture(0))
    first = transport.sent[0]
    number = transport.rtp()[0].sequence_number
    await stream._handle_rtcp_packet(RtcpRtpfbPacket(RTCP_RTPFB_NACK, 1, stream._ssrc, lost=[number]))
    assert transport.sent[-1] == first
    await stream.stop()


async def test_a_viewer_that_asks_for_everything_again_does_not_double_the_stream() -> None:
    transport = Transport()
    stream = await sender(transport, clock(), Calls())
    await stream.send_unit(picture(0, *[b"part"] * 100))
    numbers = [packet.sequence_number for packet in transport.rtp()]
    for _ in range(20):
        await stream._handle_rtcp_packet(RtcpRtpfbPacket(RTCP_RTPFB_NACK, 1, stream._ssrc, lost=numbers))
    assert stream.stats.packets_resent == 500
    await stream.stop()


async def test_a_lost_picture_asks_for_a_keyframe() -> None:
    calls = Calls()
    stream = await sender(Transport(), clock(), calls)
    await stream._handle_rtcp_packet(RtcpPsfbPacket(RTCP_PSFB_PLI, ssrc=1, media_ssrc=stream._ssrc))
    assert (calls.lost, calls.heard) == (1, 1)
    await stream.stop()


async def test_reports_of_the_viewer_tell_its_losses_and_the_round_trip() -> None:
    transport = Transport()
    stream = await sender(transport, clock(), Calls())
    await stream.send_unit(picture(0))
    (report,) = transport.sender_reports()
    lsr = report.sender_info.ntp_timestamp >> 16 & 0xFFFF_FFFF
    info = RtcpReceiverInfo(
        stream._ssrc, fraction_lost=64, packets_lost=1, highest_sequence=0, jitter=0, lsr=lsr, dlsr=1
    )
    await stream._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[info]))
    assert stream.stats.fraction_lost == 0.25
    assert stream.stats.rtt_s is not None and stream.stats.rtt_s < 5
    await stream.stop()
