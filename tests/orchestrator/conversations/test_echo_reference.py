"""The reference for the echo goes along with the microphone's samples, however late their blocks come."""

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.conversations.echo_reference import EchoReference

BLOCK = 320


class Played:
    """A silent stream that keeps the moments it was asked for."""

    def __init__(self) -> None:
        self.until_s: list[float] = []

    def sounding(self, until_s: float, count: int) -> NDArray[np.int16]:
        self.until_s.append(until_s)
        return np.zeros(count, np.int16)


def steps(delays_s: list[float], drift: float = 1.0) -> list[float]:
    """Seconds from each block's moment on the stream to the next one's, for blocks that come with these delays."""
    now_s, played = 100.0, Played()
    reference = EchoReference(lambda: now_s)
    for number, delay_s in enumerate(delays_s, 1):
        now_s = 100.0 + number * 0.02 * drift + delay_s
        found = reference.of(BLOCK, played.sounding)
        assert found is not None and len(found) == BLOCK
    return [float(step) for step in np.diff(played.until_s)]


def test_blocks_that_come_late_do_not_move_the_reference() -> None:
    late = np.random.default_rng(0).uniform(0.0, 0.05, 200).tolist()
    assert steps([0.01, *late]) == pytest.approx([0.02] * 200, abs=0.011)
    assert steps([0.0, *late])[10:] == pytest.approx([0.02] * 190, abs=2e-3)


def test_clock_of_the_microphone_may_be_a_little_fast_or_slow() -> None:
    for drift in (0.9998, 1.0002):
        found = steps([0.0] * 1000, drift)
        assert sum(found) == pytest.approx(999 * 0.02 * drift, abs=1e-3)


def test_reference_begins_anew_behind_a_pause_of_the_client() -> None:
    found = steps([0.0] * 10 + [2.0] * 10)
    assert found[9] == pytest.approx(2.02) and found[10:] == pytest.approx([0.02] * 9)


def test_silence_stays_silence() -> None:
    assert EchoReference(lambda: 1.0).of(BLOCK, lambda until_s, count: None) is None
