"""Packets on a Unix socket: their form on the wire, where a reader begins, and how it asks for a keyframe."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from streaming.packet import Description, Packet, Track, TrackDescription
from streaming.packet_server import PacketServer
from streaming.packet_stream import PacketParser, PacketReader, decode, encode, packets

DESCRIPTION = Description(
    3,
    (
        TrackDescription(Track.H264, b"\0\0\0\1sps\0\0\0\1pps", width=480, height=720),
        TrackDescription(Track.AAC, b"\x11\x90", sample_rate_hz=48_000, channels=2),
        TrackDescription(Track.OPUS, b"OpusHead", sample_rate_hz=48_000, channels=1),
    ),
)


def picture(pts: int, keyframe: bool = False) -> Packet:
    return Packet(Track.H264, pts, Fraction(1, 25), keyframe, b"nal" * 100, 1000.5 + pts / 25)


def sound(pts: int) -> Packet:
    return Packet(Track.OPUS, pts, Fraction(1, 48_000), True, b"opus", 1000.5)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


class Keyframes:
    """Counts what the server asks of the encoder, at a time that the test sets."""

    def __init__(self) -> None:
        self.requests = 0
        self.now = 0.0

    def request(self) -> None:
        self.requests += 1


@pytest.fixture
def keyframes() -> Keyframes:
    return Keyframes()


@pytest.fixture
def server(tmp_path: Path, keyframes: Keyframes) -> Iterator[PacketServer]:
    server = PacketServer(tmp_path / "packets.sock", keyframes.request, lambda: keyframes.now)
    yield server
    server.close()


def test_messages_are_found_in_bytes_that_come_one_by_one() -> None:
    messages: list[Description | Packet] = [DESCRIPTION, picture(1 << 40, keyframe=True), sound(-312)]
    parser = PacketParser()
    found = [m for byte in b"".join(encode(m) for m in messages) for m in parser.feed(bytes([byte]))]
    assert found == messages


@pytest.mark.parametrize(
    "body", [b"\x07", b"\x01\x00", b"\x00{}", b"\x00[1]", b"\x01" + struct.pack(">BBqIIdd", 0, 0, 0, 1, 0, 0.0, 0.0)]
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="no message"):
        decode(body)


@pytest.mark.parametrize("length", [0, 1 << 31])
def test_an_impossible_length_is_refused_at_once(length: int) -> None:
    with pytest.raises(ValueError, match=f"{length} bytes"):
        list(PacketParser().feed(struct.pack(">I", length)))


async def test_a_reader_begins_with_the_description_and_the_latest_keyframe(
    server: PacketServer, tmp_path: Path
) -> None:
    for message in (DESCRIPTION, picture(0, True), picture(1), picture(2, True), sound(3840), picture(3)):
        server.publish(message)
    read = packets(tmp_path / "packets.sock")
    begin = [await anext(read) for _ in range(4)]
    assert begin == [DESCRIPTION, picture(2, True), sound(3840), picture(3)]
    server.publish(picture(4))
    assert await anext(read) == picture(4)
    again = Description(4, DESCRIPTION.tracks)
    server.publish(again)
    assert await anext(read) == again, "a new run of the encoder says so"
    await read.aclose()
    await eventually(lambda: server.readers == 0)


async def test_a_reader_asks_for_a_keyframe_and_many_asks_make_two_a_second(
    server: PacketServer, tmp_path: Path, keyframes: Keyframes
) -> None:
    readers = [await PacketReader.connect(tmp_path / "packets.sock") for _ in range(3)]
    for now, requests in ((10.0, 1), (10.4, 1), (10.5, 2)):
        keyframes.now = now
        for reader in readers:
            reader.request_keyframe()
        await eventually(lambda requests=requests: keyframes.requests >= requests)  # type: ignore[misc]
        await asyncio.sleep(0.05)
        assert keyframes.requests == requests
    for reader in readers:
        reader.close()
        await reader.wait_closed()


async def test_a_reader_that_falls_behind_is_dropped_and_the_others_go_on(server: PacketServer, tmp_path: Path) -> None:
    server.publish(DESCRIPTION)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as slow:
        slow.connect(str(tmp_path / "packets.sock"))
        reader = await PacketReader.connect(tmp_path / "packets.sock")
        messages = aiter(reader)
        assert await anext(messages) == DESCRIPTION
        await eventually(lambda: server.readers == 2)
        large = Packet(Track.H264, 0, Fraction(1, 25), True, bytes(1 << 20), 0.0)
        for _ in range(8):
            server.publish(large)
            assert await anext(messages) == large
        assert server.readers == 1
        reader.close()
        await reader.wait_closed()
