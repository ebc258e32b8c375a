"""Silence before a microphone: as much as brings its frames just before those of the stream."""

import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
from numpy.typing import NDArray

from speech.audio.lead_in import Rhythm
from speech.audio.live_pcm import PcmSource

BLOCK_S, RATE_HZ = 0.01, 48_000
BLOCK = 480


@pytest.mark.parametrize("early_ms", range(0, 40))
@pytest.mark.parametrize("block_s", [0.01, 0.02, 128 / 48_000])
def test_frames_come_just_before_they_can_be_shown(early_ms: int, block_s: float) -> None:
    rhythm = Rhythm(takes_s=0.1, shown_at=1000.0)
    begun_at = 1234.9 + early_ms / 1000
    silence_s = rhythm.silence_s(begun_at, block_s)
    assert 0 <= silence_s < 0.04 and silence_s / block_s == pytest.approx(round(silence_s / block_s))
    waits_s = -(begun_at + 0.1 - silence_s - 1000.0) % 0.04
    assert waits_s % 0.04 <= block_s + 2e-4 or waits_s >= 0.04 - 2e-4


def test_blocks_that_make_no_frame_have_no_silence_before_them() -> None:
    assert Rhythm(0.1, 0.0).silence_s(1.013, 0.015) == Rhythm(0.1, 0.0).silence_s(1.013, 0.032) == 0


async def at_once(sound: NDArray[np.int16]) -> AsyncIterator[bytes]:
    for first in range(0, len(sound), BLOCK):
        yield sound[first : first + BLOCK].tobytes()


@pytest.mark.parametrize("channels", [1, 2])
async def test_silence_is_no_sample_of_the_source_and_all_of_those_follow_it(channels: int) -> None:
    spoken = np.random.default_rng(1).integers(-9_000, 9_000, (RATE_HZ // 2, channels)).astype("<i2")
    asked: list[Rhythm] = []

    def rhythm() -> Rhythm:
        # The blocks come at once, so that the speech seems to have begun 40 ms ago: its frames are ready now.
        asked.append(Rhythm(0.0, time.monotonic() - 0.025))
        return asked[-1]

    source = PcmSource(RATE_HZ, channels, rhythm=rhythm)
    sound = np.concatenate([part.sound.reshape(-1) async for part in source.frames(at_once(spoken))])
    assert len(asked) == 1 and source.samples == len(spoken)
    assert source.silent_samples == 3 * BLOCK, "ready 25 ms after a frame, it is now 5 ms before it"
    silent = source.silent_samples
    mono = np.rint(spoken.astype(np.float32).mean(axis=1)).astype(np.int16)
    assert not sound[:silent].any() and np.array_equal(sound[silent : silent + len(mono)], mono)
    assert not sound[silent + len(mono) :].any() and len(sound) - silent - len(mono) < 1920


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 44_100, 48_000])
async def test_each_frame_comes_with_the_block_that_the_rhythm_reckons_with(rate_hz: int) -> None:
    block, sent = np.ones((rate_hz // 100, 1), "<i2"), 0

    async def blocks() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 40:
            sent += 1
            yield block.tobytes()

    # Of one that could be shown 25 ms after it was ready: with 30 ms of silence the first comes with the first blocks.
    source = PcmSource(rate_hz, 1, rhythm=lambda: Rhythm(0.0, time.monotonic() - 0.025))
    came = [sent async for part in source.frames(blocks()) for _ in range(len(part))]
    assert round(source.silent_samples / rate_hz, 3) in (0.03, 0.031, 0.032)
    assert came[:9] == [4, 5, 9, 13, 17, 21, 25, 29, 33], "the first one held 40 ms of sound"


async def test_empty_messages_change_nothing() -> None:
    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b""
            yield np.ones((BLOCK, 1), "<i2").tobytes()

    source = PcmSource(RATE_HZ, 1, rhythm=lambda: Rhythm(0.0, time.monotonic() - 0.025))
    assert sum([len(part) async for part in source.frames(blocks())]) == 3 and source.silent_samples == 3 * BLOCK


async def test_less_than_a_frame_is_said_without_asking() -> None:
    def nobody() -> Rhythm:
        raise AssertionError

    spoken = np.ones((3 * BLOCK + 7, 1), "<i2")
    source = PcmSource(RATE_HZ, 1, rhythm=nobody)
    [part] = [part async for part in source.frames(at_once(spoken))]
    assert len(part) == 1 and part.sound[0, : len(spoken)].all() and source.silent_samples == 0


async def test_without_a_rhythm_nothing_is_put_before() -> None:
    spoken = np.ones((1920, 1), "<i2")
    source = PcmSource(RATE_HZ, 1)
    [part] = [part async for part in source.frames(at_once(spoken))]
    assert part.sound.all() and source.silent_samples == 0
