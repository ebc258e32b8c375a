"""What a process beside the channel reads at its packet socket, as the one for WebRTC does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from latentsync.avatar import PreparedAvatar
from streaming.packet import Description, Packet, Track
from streaming.packet_stream import PacketReader
from tests.support.watched import encoder_of, running

pytestmark = pytest.mark.timeout(120)


class Reading:
    """Everything that a reader of a channel's packets got so far."""

    def __init__(self, reader: PacketReader) -> None:
        self.reader = reader
        self.messages: list[Description | Packet] = []
        self._changed = asyncio.Condition()
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self.reader:
            async with self._changed:
                self.messages.append(message)
                self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(condition)

    @property
    def descriptions(self) -> list[Description]:
        return [m for m in self.messages if isinstance(m, Description)]

    def packets(self, track: Track = Track.H264) -> list[Packet]:
        return [m for m in self.messages if isinstance(m, Packet) and m.track is track]

    @property
    def keyframes(self) -> int:
        return sum(p.keyframe for p in self.packets())


async def test_packets_of_all_tracks_go_on_over_a_keyframe_on_request_and_an_encoder_that_is_killed(
    avatar: PreparedAvatar, tmp_path: Path
) -> None:
    socket = tmp_path / "packets.sock"
    async with running(avatar, tmp_path, packet_socket=str(socket), gop_frames=250, queue_frames=250) as watched:
        reading = Reading(await PacketReader.connect(socket))
        await reading.until(lambda: len(reading.packets()) > 10)
        keyframes = reading.keyframes
        reading.reader.request_keyframe()
        await reading.until(lambda: reading.keyframes > keyframes)
        runs, killed_at = len(reading.descriptions), len(reading.packets())
        os.kill(encoder_of(watched.channel), signal.SIGKILL)
        await reading.until(lambda: len(reading.descriptions) > runs and len(reading.packets()) > killed_at + 25)
    await reading.task  # the stream ends with the channel
    reading.reader.close()
    await reading.reader.wait_closed()
    assert isinstance(reading.messages[0], Description)
    assert all(a.run < b.run for a, b in pairwise(reading.descriptions))
    assert {tuple(each.track for each in run.tracks) for run in reading.descriptions} == {tuple(Track)}
    for track in Track:
        assert all(a.pts < b.pts for a, b in pairwise(reading.packets(track))), f"{track}: times never go back"
    assert len(reading.packets(Track.OPUS)) > len(reading.packets())
    ahead = [round(p.captured_s - p.time_s, 4) for p in reading.packets()]
    assert ahead == sorted(ahead), "the frame clock is that of all encoders; only a stall of the machine moves it"
    assert {b.pts - a.pts for a, b in pairwise(reading.packets(Track.OPUS))} == {960}, "no sound is lost"
    before, *after = (p.pts for p in reading.packets()[killed_at - 1 :])
    # Two or three; more where the machine is so slow that one of five frames has a picture.
    assert after[0] - before <= 12, "what the killed encoder held: no pair that waited is lost"
