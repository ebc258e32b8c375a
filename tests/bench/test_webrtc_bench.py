"""`bench webrtc`: its relay, and a short run of the whole."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from pathlib import Path

import pytest

from bench.webrtc.browser import Seen, Watch
from bench.webrtc.record import WebRtcPlan, bench_webrtc
from bench.webrtc.relay import Relay
from bench.webrtc.serving import note_due
from speech.audio.decoder import ffmpeg_binary
from streaming.packet import Description, Packet, Track, stream_time_s
from streaming.packet_server import PacketServer
from tests.support.checkout import ROOT
from tests.support.viewer_page import CHROMIUM


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: list[bytes] = []

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.received.append(data)


def answer(host: str, port: int) -> str:
    lines = ["v=0", f"a=candidate:f 1 udp 2130706431 {host} {port} typ host", "a=candidate:g 1 udp 1 ::1 5 typ host"]
    return "\r\n".join([*lines, "a=end-of-candidates", ""])


async def test_relay_loses_the_share_that_was_asked_for_and_everything_in_the_dark() -> None:
    loop = asyncio.get_running_loop()
    server, received = await loop.create_datagram_endpoint(_Receiver, local_addr=("127.0.0.1", 0))
    relay = Relay(seed=1)
    viewer = None
    try:
        changed = await relay.stand_between(answer(*server.get_extra_info("sockname")))
        (own,) = [line for line in changed.split("\r\n") if line.startswith("a=candidate:")]
        assert changed.endswith("a=end-of-candidates\r\n")
        address = ("127.0.0.1", int(own.split()[5]))
        assert address[1] != server.get_extra_info("sockname")[1]
        viewer, _ = await loop.create_datagram_endpoint(_Receiver, remote_addr=address)

        async def arrived(count: int) -> int:
            received.received.clear()
            carried, lost = relay.carried, relay.lost
            for _ in range(count):
                viewer.sendto(b"x")
                await asyncio.sleep(0)
            async with asyncio.timeout(60):
                while relay.carried < carried + count:
                    await asyncio.sleep(0.01)
                while len(received.received) < count - (relay.lost - lost):
                    await asyncio.sleep(0.01)
            return len(received.received)

        assert await arrived(50) == 50
        relay.loss = 0.5
        assert 10 < await arrived(50) < 40
        relay.dark = True
        assert await arrived(50) == 0
    finally:
        relay.close()
        server.close()
        if viewer is not None:
            viewer.close()


async def test_frames_are_due_by_the_numbers_that_are_painted_on_them(tmp_path: Path) -> None:
    server = PacketServer(tmp_path / "packets", lambda: None)
    due_s: dict[int, float] = {}
    noting = asyncio.create_task(note_due(tmp_path / "packets", due_s))
    try:
        server.publish(Description(1, ()))
        now = time.monotonic()
        # Every second frame, as of an encoder that can't keep up.
        for number in (50, 52, 54):
            pts = round(stream_time_s(number, 10_000) * 25)
            server.publish(Packet(Track.H264, pts, Fraction(1, 25), number == 50, b"picture", now + number / 25))
        async with asyncio.timeout(60):
            while len(due_s) < 3:
                await asyncio.sleep(0.01)
    finally:
        noting.cancel()
        await asyncio.wait({noting})
        server.close()
    assert list(due_s) == [50, 52, 54]
    assert due_s[54] - due_s[50] == pytest.approx(4 / 25)


def test_picture_that_never_comes_again_stands_until_the_end() -> None:
    pictures = [Seen(number, 100 + number / 25) for number in range(26)]
    assert Watch(100, 101, pictures).longest_still_s == pytest.approx(0.04)
    assert Watch(100, 105, pictures).longest_still_s == pytest.approx(4)
    assert Watch(97, 101, pictures).longest_still_s == pytest.approx(3)
    assert Watch(100, 105, []).longest_still_s == pytest.approx(5)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
async def test_short_run_measures_every_promise() -> None:
    plan = WebRtcPlan(seconds=5, sound_s=8, viewers=2, visits=6, blackouts=1)
    record = await bench_webrtc(plan, Path(ROOT / "checkpoints" / "demo"), ffmpeg_binary())
    assert record.webrtc_ms["count"] > 0
    assert record.mp4_ms["p50"] > record.webrtc_ms["p50"]
    assert record.sound_ms["count"] > 0
    assert record.left is not None
    assert (record.left.failed, record.left.peers, record.left.sockets) == (0, 0, 0)
    assert all(criterion.measured is not None for criterion in record.criteria)
