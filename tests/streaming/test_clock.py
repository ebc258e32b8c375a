"""The frame clock, with a time that the test moves."""

from __future__ import annotations

from itertools import pairwise

import pytest

from streaming.clock import FrameClock


class Time:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


def test_frames_keep_to_the_absolute_schedule_whatever_each_costs(time: Time) -> None:
    clock = FrameClock(lambda: time.now, time.sleep)
    for n in range(250_000):
        assert clock.wait() == n
        time.now += 0.001 * (n % 30)
    assert time.now - 1000.0 == pytest.approx(249_999 / 25, abs=0.03)
    assert clock.stalls == 0


def test_a_short_stall_is_made_up_at_twice_the_frame_rate(time: Time) -> None:
    clock = FrameClock(lambda: time.now, time.sleep)
    for _ in range(10):
        clock.wait()
    time.now += 0.4
    times = []
    for _ in range(30):
        clock.wait()
        times.append(time.now)
    assert min(b - a for a, b in pairwise(times)) == pytest.approx(0.02)
    assert times[-1] == pytest.approx(1000.0 + 39 / 25)
    assert clock.stalls == 0


def test_after_a_long_stall_the_schedule_moves_and_nothing_bursts(time: Time) -> None:
    clock = FrameClock(lambda: time.now, time.sleep)
    for _ in range(10):
        clock.wait()
    time.now += 60.0
    times = []
    for n in range(10, 40):
        assert clock.wait() == n, "frame numbers, and so timestamps, have no gap"
        times.append(time.now)
    assert all(b - a == pytest.approx(0.04) for a, b in pairwise(times))
    assert clock.stalls == 1
