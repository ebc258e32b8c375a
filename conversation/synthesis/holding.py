"""When a sentence that still arrives may start, so that no silence falls into a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conversation.synthesis.synthesiser import FAILED, SynthesisError

# The lips need a chunk of sound and what follows it, and some time: so far behind what has arrived is what is played.
_BEHIND_S = 1.2
# A sentence may be longer than its letters let expect, or its synthesiser become slower.
_SAFETY = 1.3
_LATIN_CHAR_S, _WIDE_CHAR_S, _DIGIT_S = 0.06, 0.22, 0.3
_FIRST_WIDE = 0x2E80  # of the scripts whose characters are syllables
# More than a sentence can be: an answer that doesn't end.
_ENDLESS_S, _ENDLESS_TIMES = 20.0, 5.0


def expected_s(text: str, rate: float = 1.0) -> float:
    """About how long a sentence lasts: letters, digits that are read as numbers, and characters that are syllables."""
    seconds = sum(
        _DIGIT_S if char.isdigit() else _WIDE_CHAR_S if ord(char) >= _FIRST_WIDE else _LATIN_CHAR_S for char in text
    )
    return seconds / rate


@dataclass(frozen=True)
class Arrival:
    """How far a sentence has arrived: seconds of sound in `elapsed_s` since its first block, of `expected_s` or so."""

    arrived_s: float
    elapsed_s: float
    expected_s: float


def wait_before_start_s(arrival: Arrival) -> float | None:
    """Seconds until the sentence may start if it goes on arriving as until now; 0 when it may, None: not known yet.

    With r seconds of sound a second, all of it is there in (expected - arrived) / r, and what is played must stay
    1.2 s behind. Where r is below 1 that is critical at the end, else at the beginning.
    """
    arrived_s, expected = arrival.arrived_s, max(_SAFETY * arrival.expected_s, 1.2 * arrival.arrived_s)
    missing_s = min(_BEHIND_S, expected) - arrived_s
    if arrival.elapsed_s <= 0 or arrived_s <= 0:
        return None
    rate = arrived_s / arrival.elapsed_s / _SAFETY
    to_come_s = (expected - arrived_s) / rate
    return max(0.0, missing_s / rate, to_come_s - max(0.0, expected - _BEHIND_S))


async def held_until_safe(
    blocks: AsyncIterator[NDArray[np.int16]], expected: float, rate_hz: int, clock: Callable[[], float]
) -> AsyncGenerator[NDArray[np.int16], None]:
    """The blocks of a sentence of about `expected` seconds, the first ones once the rest will come in time.

    Raises SynthesisError for one that doesn't end.
    """
    held: list[NDArray[np.int16]] = []
    arrived, began, started = 0, 0.0, False
    longest_s = max(_ENDLESS_S, _ENDLESS_TIMES * expected)
    coming: asyncio.Future[NDArray[np.int16] | None] | None = None
    try:
        while True:
            wait_s = None if started or not held else _wait_s(arrived / rate_hz, clock() - began, expected)
            started = started or wait_s == 0
            while started and held:
                yield held.pop(0)
            coming = coming or asyncio.ensure_future(anext(blocks, None))
            await asyncio.wait({coming}, timeout=None if started else wait_s)
            if not coming.done():
                continue
            if (block := coming.result()) is None:
                break
            coming = None
            if not arrived:
                began = clock()
            arrived += len(block)
            if arrived > longest_s * rate_hz:
                raise SynthesisError(
                    FAILED,
                    f"The synthesiser doesn't end: {longest_s:.0f} s of sound for a sentence of {expected:.0f} s.",
                )
            held.append(block)
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
    for block in held:
        yield block


def _wait_s(arrived_s: float, elapsed_s: float, expected: float) -> float | None:
    return wait_before_start_s(Arrival(arrived_s, elapsed_s, expected))
