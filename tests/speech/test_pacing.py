"""When a speech may start, and the rate that this rests on."""

import math

import pytest

from speech.pacing import RateMeter, wait_before_start_s


def stalls(wait_s: float, rate: float, ready: int, total: int) -> bool:
    """Plays the speech frame by frame against chunks of 16 that become whole one after another."""
    for frame in range(ready, total):
        chunk = (frame - ready) // 16 + 1
        if wait_s + frame / 25 < 16 * chunk / rate - 1e-9:
            return True
    return False


@pytest.mark.parametrize("rate", [5.0, 12.5, 24.9, 25.0, 26.0, 40.0, 400.0])
@pytest.mark.parametrize(("ready", "total"), [(0, 1), (0, 16), (0, 500), (16, 500), (48, 64), (200, 507), (499, 500)])
def test_speech_that_waits_so_long_never_stalls_and_a_little_less_does(rate: float, ready: int, total: int) -> None:
    wait_s = wait_before_start_s(rate, ready, total)
    assert not stalls(wait_s, rate, ready, total)
    if wait_s > 0:
        assert stalls(wait_s - 0.001, rate, ready, total)


def test_a_next_chunk_that_comes_later_than_the_rate_says_is_waited_for() -> None:
    # 16 frames last 0.64 s; what comes after goes on at the rate, and would be early.
    assert wait_before_start_s(100.0, ready=16, total=160, next_chunk_s=0.9) == pytest.approx(0.9 - 0.64)
    assert wait_before_start_s(100.0, ready=32, total=160, next_chunk_s=0.9) == 0
    assert wait_before_start_s(25.0, ready=16, total=160, next_chunk_s=0.1) == 0


def test_everything_made_may_start_now() -> None:
    assert wait_before_start_s(1.0, ready=100, total=100) == 0


def test_slow_machine_waits_for_the_difference() -> None:
    assert wait_before_start_s(12.5, ready=0, total=1600) == pytest.approx(1600 / 12.5 - (1600 - 16) / 25)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_senseless_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        wait_before_start_s(rate, 0, 10)


def test_rate_counts_overlapping_requests_once_and_idle_time_not_at_all() -> None:
    now = 0.0
    meter = RateMeter(lambda: now)
    assert meter.frames_per_s is None
    meter.started()
    meter.started()
    now = 1.0
    meter.ended(16)
    now = 2.0
    meter.ended(16)
    now = 10.0
    assert meter.frames_per_s == 16.0
    meter.started()
    now = 12.0
    assert meter.busy_s == 4.0
