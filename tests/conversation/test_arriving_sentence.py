"""The sound of a sentence on its way: quiet ends are left out, and it starts when the rest will come in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import chain, repeat

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.virtual_loop import in_virtual_time
from conversation.synthesis.holding import Arrival, expected_s, held_until_safe, wait_before_start_s
from conversation.synthesis.quiet_ends import without_quiet_ends
from conversation.synthesis.synthesiser import SynthesisError

RATE_HZ = 1000


async def blocks_of(samples: Iterable[NDArray[np.int16]]) -> AsyncIterator[NDArray[np.int16]]:
    for each in samples:
        yield each


@pytest.mark.parametrize("size", [1, 7, 100, 5000])
async def test_silence_around_a_sentence_is_left_out_and_within_it_is_kept(size: int) -> None:
    whole = np.zeros(2000, np.int16)
    whole[500:700] = whole[1200:1300] = 1000
    cut = [whole[first : first + size] for first in range(0, len(whole), size)]
    got = np.concatenate([block async for block in without_quiet_ends(blocks_of(cut), RATE_HZ)])
    np.testing.assert_array_equal(got, whole[460:1340])


async def test_of_silence_alone_nothing_is_left() -> None:
    assert [b async for b in without_quiet_ends(blocks_of([np.zeros(500, np.int16)] * 3), RATE_HZ)] == []


@pytest.mark.parametrize("first", [0, 1000])
async def test_silence_that_does_not_end_is_refused(first: int) -> None:
    """It was held for the sound that would follow: all memory, and all time of the event loop."""
    endless = (np.full(10, level, np.int16) for level in chain([first], repeat(0)))
    with pytest.raises(SynthesisError, match="doesn't end"):
        async for _ in without_quiet_ends(blocks_of(endless), RATE_HZ):
            pass


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("Good morning, how can I help you?", 1.5, 3.0), ("1,234,567", 2.0, 5.0), ("您好,今天天气很好。", 1.5, 3.0)],
)
def test_about_how_long_a_sentence_lasts(text: str, least: float, most: float) -> None:
    assert least < expected_s(text) < most
    assert expected_s(text, rate=2.0) == pytest.approx(expected_s(text) / 2)


class Provider:
    """Makes a sentence of `length_s` seconds in blocks of 0.1 s, at `speed` seconds of sound a second."""

    def __init__(self, length_s: float, speed: float) -> None:
        self._blocks = round(length_s * 10)
        self._speed = speed
        self.arrivals: list[float] = []

    async def blocks(self) -> AsyncIterator[NDArray[np.int16]]:
        for _ in range(self._blocks):
            await asyncio.sleep(0.1 / self._speed)
            self.arrivals.append(asyncio.get_running_loop().time())
            yield np.full(RATE_HZ // 10, 1000, np.int16)


def started_at(provider: Provider, expected: float) -> float:
    async def first() -> float:
        loop, began = asyncio.get_running_loop(), -1.0
        async for _ in held_until_safe(provider.blocks(), expected, RATE_HZ, loop.time):
            began = loop.time() if began < 0 else began
        return began

    return in_virtual_time(first())


@pytest.mark.parametrize("speed", [0.3, 0.5, 0.8, 0.99, 1.2, 2.0, 10.0])
@pytest.mark.parametrize("length_s", [0.5, 2.0, 6.0, 15.0])
@pytest.mark.parametrize("misjudged", [0.85, 1.0, 1.25])
def test_no_silence_falls_into_a_sentence(speed: float, length_s: float, misjudged: float) -> None:
    provider = Provider(length_s, speed)
    start = started_at(provider, length_s * misjudged)
    for block, arrival in enumerate(provider.arrivals):
        played = start + 0.1 * block
        whole_by_then = provider.arrivals[-1] <= played
        assert whole_by_then or arrival <= played, f"block {block} came at {arrival:.2f} s for {played:.2f} s"


def test_a_fast_synthesiser_is_not_waited_for_to_its_end() -> None:
    provider = Provider(15.0, 3.0)
    assert started_at(provider, 15.0) < 1.0


def test_a_sentence_that_is_there_as_a_whole_starts_at_once() -> None:
    assert started_at(Provider(2.0, 1e6), 2.0) < 0.001


def test_slower_than_real_time_waits_for_the_difference_and_more() -> None:
    wait_s = wait_before_start_s(Arrival(arrived_s=1.0, elapsed_s=2.0, expected_s=10.0))
    assert wait_s is not None and wait_s > 10.0 / 0.5 - 10.0


def test_an_answer_that_does_not_end_is_refused() -> None:
    with pytest.raises(SynthesisError, match="doesn't end"):
        started_at(Provider(1000.0, 50.0), 2.0)
