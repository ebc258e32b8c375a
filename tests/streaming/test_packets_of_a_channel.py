"""What a process beside the channel reads at its packet socket, as the one for WebRTC does."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext

from latentsync.avatar import PreparedAvatar
from streaming.config import FRAME_SAMPLES
from streaming.events import SpeechStarted, Status
from streaming.packet import Description, Packet, Track
from streaming.packet_stream import PacketReader
from tests.support.watched import Watched, encoder_of, is_kind, running, speech

pytestmark = pytest.mark.timeout(240)


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
        async with asyncio.timeout(90), self._changed:
            await self._changed.wait_for(condition)

    async def end(self) -> None:
        """Waits until the stream ends."""
        await self.task
        self.reader.close()
        await self.reader.wait_closed()

    @property
    def descriptions(self) -> list[Description]:
        return [m for m in self.messages if isinstance(m, Description)]

    def packets(self, track: Track = Track.H264) -> list[Packet]:
        return [m for m in self.messages if isinstance(m, Packet) and m.track is track]

    @property
    def keyframes(self) -> int:
        return sum(p.keyframe for p in self.packets())


def skip_where_overloaded(watched: Watched) -> None:
    """Also where the channel's process stood still."""
    watched.skip_where_pictures_were_left_out()
    if any(isinstance(event, Status) and event.stalls for event in watched.events):
        pytest.skip("the machine is overloaded: the channel's process stood still")


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
    await reading.end()  # with the channel
    skip_where_overloaded(watched)
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


async def test_nothing_of_an_interrupted_speech_leaves_the_encoder_that_was_due_after_the_answer(
    avatar: PreparedAvatar, tmp_path: Path
) -> None:
    socket = tmp_path / "packets.sock"
    async with running(avatar, tmp_path, packet_socket=str(socket), test_pattern=False) as watched:
        reading = Reading(await PacketReader.connect(socket))
        await reading.until(lambda: len(reading.packets()) > 10)
        await watched.channel.open("a", 200, 0.1)
        tone = (8000 * np.sin(np.arange(200 * FRAME_SAMPLES) / 17)).astype(np.int16).reshape(200, FRAME_SAMPLES)
        await watched.channel.write("a", 0, speech(200)[0], tone)
        await watched.until(is_kind(SpeechStarted))
        count = len(reading.packets())
        await reading.until(lambda: len(reading.packets()) > count + 10)
        await watched.channel.interrupt()
        answered_s = time.monotonic()
        await reading.until(lambda: reading.packets()[-1].captured_s > answered_s + 0.5)
    await reading.end()
    skip_where_overloaded(watched)
    mouths, sounds = spoken(reading)
    assert mouths and sounds
    assert mouths[-1] < answered_s + 0.04, "one frame, in which it fades"
    assert sounds[-1] < answered_s + 0.04 + 0.02, "one packet more, into which a decoder smears"


def spoken(reading: Reading) -> tuple[list[float], list[float]]:
    """When the pictures with the white face were due, and the Opus packets that aren't silent."""
    pictures, opus = CodecContext.create("h264", "r"), CodecContext.create("libopus", "r")
    assert isinstance(pictures, VideoCodecContext) and isinstance(opus, AudioCodecContext)
    mouths = []
    for packet in reading.packets():
        for picture in pictures.decode(av.Packet(packet.data)):
            luma = np.asarray(picture.to_ndarray(format="gray"))
            height, width = luma.shape
            columns = slice(width * 7 // 16, width * 9 // 16)
            face = luma[height * 14 // 24 : height * 16 // 24, columns].mean()
            if face - luma[height * 2 // 24 : height * 4 // 24, columns].mean() > 30:
                mouths.append(packet.captured_s)
    sounds = []
    for packet in reading.packets(Track.OPUS):
        for frame in opus.decode(av.Packet(packet.data)):
            samples = frame.to_ndarray().astype(float)
            if np.abs(samples / (1 if "flt" in frame.format.name else 32768)).max() > 0.05:
                sounds.append(packet.captured_s)
    return mouths, sounds
