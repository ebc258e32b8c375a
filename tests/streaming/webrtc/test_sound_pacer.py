"""When packets of sound are sent that come out of the encoder two at a time."""

from __future__ import annotations

import asyncio
from fractions import Fraction

import pytest

from streaming.webrtc.sound_pacer import SoundPacer
from streaming.webrtc.units import Unit, audio_unit


class Time:
    """Seconds that pass where somebody sleeps."""

    now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


async def sent_at(pairs: int, late_s: float, at_once: bool) -> list[float]:
    """When each packet was sent, of pairs whose sound comes `late_s` after its capture; all of them only at the end."""
    time = Time()
    times: list[float] = []

    async def send(unit: Unit) -> None:
        times.append(time.now)

    pacer = SoundPacer(send, time, time.sleep)
    running = asyncio.create_task(pacer.run())
    began = time.now
    for pair in range(pairs):
        captured_s = began + 0.04 * pair
        if not at_once:
            time.now = max(time.now, captured_s + late_s)
        else:
            time.now = began + 0.04 * pairs + late_s
        for half in range(2):
            pacer.put(audio_unit(b"sound", Fraction(2 * pair + half, 50)), captured_s + 0.02 * half)
        if not at_once:
            while len(times) < 2 * (pair + 1):
                await asyncio.sleep(0)
    while len(times) < 2 * pairs:
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    return [at - began for at in times]


async def test_second_packet_of_a_pair_follows_the_first_as_it_was_spoken() -> None:
    times = await sent_at(5, late_s=0.008, at_once=False)
    assert times[::2] == pytest.approx([0.008 + 0.04 * pair for pair in range(5)]), "the first ones at once"
    assert times[1::2] == pytest.approx([0.026 + 0.04 * pair for pair in range(5)])


async def test_sound_that_comes_late_is_not_held() -> None:
    times = await sent_at(5, late_s=0.3, at_once=True)
    assert times == pytest.approx([0.5] * 10)
