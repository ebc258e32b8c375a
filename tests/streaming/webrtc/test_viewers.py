"""A channel's process for WebRTC: who comes in, what they see and hear, and what is left when they have gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from streaming.webrtc.config import WebRtcConfig
from streaming.webrtc.handle import OfferRefused, WebRtcGone, WebRtcHandle
from streaming.webrtc.viewers import Viewers
from tests.support.in_a_row import in_a_row
from tests.support.packet_source import PacketSource
from tests.support.viewer_page import CHROMIUM, DESKTOP, PHONE, assert_each_once_and_in_order, viewer_page
from tests.support.webrtc_client import WebRtcClient, webrtc_client

PORTS = (50_400, 50_449)

with_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture
def source(tmp_path: Path) -> Iterator[PacketSource]:
    with PacketSource(tmp_path / "packets.sock") as source:
        yield source


class Ended:
    """The sessions that ended by themselves."""

    def __init__(self) -> None:
        self.sessions: list[str] = []


@pytest.fixture
def ended() -> Ended:
    return Ended()


@pytest.fixture
async def process(tmp_path: Path, source: PacketSource, ended: Ended) -> AsyncIterator[WebRtcHandle]:
    config = WebRtcConfig("main", str(tmp_path / "packets.sock"), *PORTS, most_peers=3, most_pending=2)
    handle = await WebRtcHandle.start(config, tmp_path, ended.sessions.append)
    yield handle
    await handle.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def watch(process: WebRtcHandle, client: WebRtcClient, session: str) -> None:
    await client.accept(await process.offer(session, "me", await client.offer("video", "audio"), loopback=True))


def in_use() -> int:
    """UDP ports of the range that somebody holds."""
    taken = 0
    for port in range(PORTS[0], PORTS[1] + 1):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken += 1
    return taken


@with_chromium
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
async def test_chromium_shows_each_picture_once_and_in_order(process: WebRtcHandle, size: dict[str, int]) -> None:
    async with viewer_page(size) as viewer:
        await viewer.accept(await process.offer("s", "me", await viewer.offer("video", "audio"), loopback=True))
        pictures = await viewer.until(
            lambda pictures: len(pictures) >= 50 and in_a_row([each.number for each in pictures]) >= 10
        )
        stats = await viewer.stats()
    assert_each_once_and_in_order(pictures)
    assert stats["video"]["framesDecoded"] >= len(pictures)
    assert stats["video"]["packetsLost"] == stats["video"]["pliCount"] == 0
    assert stats["audio"]["packetsReceived"] > len(pictures)


async def test_a_viewer_that_is_no_browser_sees_and_hears(process: WebRtcHandle) -> None:
    async with webrtc_client() as client:
        await watch(process, client, "s")
        numbers = await client.pictures(20)
        assert all(next - one == 1 for one, next in pairwise(numbers))
        await until(lambda: client.beeps > 1)


async def test_a_viewer_that_says_goodbye_leaves_nothing_behind(process: WebRtcHandle, ended: Ended) -> None:
    async with webrtc_client() as client:
        await watch(process, client, "s")
        await client.pictures(1)
        await until(lambda: process.counts.viewers == 1)
        assert in_use() >= 1
    await until(lambda: ended.sessions == ["s"] and process.counts.viewers == 0)
    await until(lambda: in_use() == 0)


async def test_a_viewer_that_vanishes_without_a_word_is_gone_soon(tmp_path: Path, source: PacketSource) -> None:
    reasons: list[str] = []
    config = WebRtcConfig("main", str(tmp_path / "packets.sock"), *PORTS)
    viewers = Viewers(config, lambda session, reason: reasons.append(reason), silent_s=3.0)
    running = asyncio.create_task(viewers.run())
    client = WebRtcClient()
    try:
        await client.accept(await viewers.answer("s", "me", await client.offer("video", "audio"), loopback=True))
        seen = len(await client.pictures(3))
        await client.pictures(seen + 100)  # its reports keep it longer than the limit
        assert reasons == []
        for transceiver in client.connection.getTransceivers():
            for protocol in transceiver.receiver.transport.transport._connection._protocols:
                protocol.transport.abort()
        await until(lambda: reasons == ["it reported nothing for 3 s"])
        assert viewers.counts.viewers == 0
        await until(lambda: in_use() == 0)
    finally:
        running.cancel()
        await asyncio.wait({running})
        await client.close()


async def test_a_session_that_is_closed_ends_at_the_viewer(process: WebRtcHandle, ended: Ended) -> None:
    async with webrtc_client() as client:
        await watch(process, client, "s")
        await client.pictures(1)
        await process.close("s")
        await until(lambda: client.connection.connectionState == "closed")
    await process.close("s")  # a second time is no error
    assert ended.sessions == []


async def test_an_offer_that_is_never_finished_gives_its_place_back(process: WebRtcHandle, ended: Ended) -> None:
    clients = [WebRtcClient() for _ in range(3)]
    try:
        for number, client in enumerate(clients[:2]):
            await process.offer(f"s{number}", f"owner {number}", await client.offer("video"), loopback=True)
        with pytest.raises(OfferRefused, match="0 of your viewers, and 2 in all, have not") as refusal:
            await process.offer("s2", "another", await clients[2].offer("video"), loopback=True)
        assert refusal.value.code == "busy"
        await until(lambda: sorted(ended.sessions) == ["s0", "s1"])
        await until(lambda: in_use() == 0)
    finally:
        for client in clients:
            await client.close()


async def test_more_viewers_than_allowed_are_refused(process: WebRtcHandle) -> None:
    clients = [WebRtcClient() for _ in range(4)]
    try:
        for number, client in enumerate(clients[:3]):
            await watch(process, client, f"s{number}")
            await client.pictures(1)
        with pytest.raises(OfferRefused, match="3 viewers are connected, which is the limit"):
            await process.offer("s3", "me", await clients[3].offer("video"), loopback=True)
    finally:
        for client in clients:
            await client.close()


async def test_viewers_watch_on_when_their_channel_begins_anew(tmp_path: Path, ended: Ended) -> None:
    path = tmp_path / "packets.sock"
    process = await WebRtcHandle.start(WebRtcConfig("main", str(path), *PORTS), tmp_path, ended.sessions.append)
    try:
        async with webrtc_client() as client:
            with PacketSource(path, first_number=1000):
                await watch(process, client, "s")
                await client.pictures(10)
            with PacketSource(path):  # counts from zero
                await until(lambda: sum(number < 1000 for number in client.numbers) > 10)
        steps = [next - one for one, next in pairwise(client.numbers)]
        assert sum(step < 0 for step in steps) == 1 and all(step == 1 for step in steps if step >= 0)
    finally:
        await process.aclose()


async def test_sessions_end_with_a_process_that_dies(process: WebRtcHandle, ended: Ended) -> None:
    async with webrtc_client() as client:
        await watch(process, client, "s")
        await client.pictures(1)
        process._kill()
        await until(lambda: ended.sessions == ["s"])
        with pytest.raises(WebRtcGone):
            await process.offer("t", "me", "v=0", loopback=True)
