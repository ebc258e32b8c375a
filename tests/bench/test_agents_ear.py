"""The ear that the doors for agents are measured with, at a packet socket like a channel's."""

import asyncio
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext

from bench.agents.ear import Ear
from bench.agents.tones import TONES_HZ, Sound
from streaming.config import SAMPLE_RATE_HZ
from streaming.packet import Description, Packet, Track, TrackDescription
from streaming.packet_server import PacketServer

BEGAN_S = 1000.0
SIZE = SAMPLE_RATE_HZ // 50


def packets(*sounds: Sound | float) -> Iterator[Packet]:
    """The sounds, and silences of so many seconds, as Opus from `BEGAN_S` on."""
    parts = [
        bytes(2 * round(each * SAMPLE_RATE_HZ)) if isinstance(each, float) else each.pcm(SAMPLE_RATE_HZ)
        for each in sounds
    ]
    samples = np.frombuffer(b"".join(parts), np.int16)
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLE_RATE_HZ, "mono", "s16"
    encoder.time_base, encoder.options = Fraction(1, SAMPLE_RATE_HZ), {"application": "lowdelay"}
    for first in range(0, len(samples) - SIZE + 1, SIZE):
        frame = av.AudioFrame.from_ndarray(samples[None, first : first + SIZE], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, first, Fraction(1, SAMPLE_RATE_HZ)
        for each in encoder.encode(frame):
            at_s = BEGAN_S + first / SAMPLE_RATE_HZ
            yield Packet(Track.OPUS, first, Fraction(1, SAMPLE_RATE_HZ), True, bytes(each), at_s)


async def listened(path: Path, sent: list[Packet]) -> Ear:
    server = PacketServer(path, lambda: None)
    ear = Ear(path)
    listening = asyncio.create_task(ear.run())
    try:
        async with asyncio.timeout(60):
            while not server.readers:
                await asyncio.sleep(0.01)
            server.publish(Description(1, (TrackDescription(Track.OPUS, b""),)))
            for packet in sent:
                server.publish(packet)
            await ear.until(sent[-1].captured_s - 0.001)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await asyncio.to_thread(server.close)
    return ear


async def test_it_hears_when_a_tone_was_and_how_much_of_it(tmp_path: Path) -> None:
    first, other = Sound(1, 0.4), Sound(3, 0.2)
    ear = await listened(tmp_path / "socket", list(packets(0.2, first, 0.2, Sound(1, 0.1), other, 0.1)))
    heard = ear.heard(first.hz, BEGAN_S)
    assert heard.seconds == pytest.approx(0.5, abs=0.01)
    assert heard.first_s == pytest.approx(BEGAN_S + 0.2, abs=0.01)
    assert heard.last_s == pytest.approx(BEGAN_S + 0.9, abs=0.01)
    assert ear.heard(other.hz, BEGAN_S).seconds == pytest.approx(0.2, abs=0.01)
    assert ear.heard(TONES_HZ[5], BEGAN_S).first_s is None
    assert heard.unheard_s == 0


async def test_it_knows_what_it_missed(tmp_path: Path) -> None:
    sent = list(packets(0.2, Sound(1, 0.4), 0.2))
    ear = await listened(tmp_path / "socket", sent[:15] + sent[20:])
    assert ear.heard(TONES_HZ[1], BEGAN_S).unheard_s == pytest.approx(0.1, abs=0.001)
