"""When a speech may start: whole speeches, and such that are still arriving."""

from __future__ import annotations

import math

import pytest

from speech.start import Progress, spare_s, wait_before_start_s


def stalls(wait_s: float, rate: float, buffered: int, total: int) -> bool:
    """Plays the speech frame by frame against chunks of 16 that become whole one after another."""
    for frame in range(buffered, total):
        chunk = (frame - buffered) // 16 + 1
        if wait_s + frame / 25 < 16 * chunk / rate - 1e-9:
            return True
    return False


@pytest.mark.parametrize("rate", [5.0, 12.5, 24.9, 25.0, 26.0, 40.0, 400.0])
@pytest.mark.parametrize(
    ("buffered", "total"), [(0, 1), (0, 16), (0, 500), (16, 500), (48, 64), (200, 507), (499, 500)]
)
def test_speech_that_waits_so_long_never_stalls_and_a_little_less_does(rate: float, buffered: int, total: int) -> None:
    wait_s = wait_before_start_s(Progress(buffered, total - buffered, rate))
    assert not stalls(wait_s, rate, buffered, total)
    if wait_s > 0:
        assert stalls(wait_s - 0.001, rate, buffered, total)


def test_a_next_chunk_that_comes_later_than_the_rate_says_is_waited_for() -> None:
    # 16 frames last 0.64 s; what comes after goes on at the rate, and would be early.
    assert wait_before_start_s(Progress(16, 144, 100.0, next_chunk_s=0.9)) == pytest.approx(0.9 - 0.64)
    assert wait_before_start_s(Progress(32, 128, 100.0, next_chunk_s=0.9)) == 0
    assert wait_before_start_s(Progress(16, 144, 25.0, next_chunk_s=0.1)) == 0


def test_short_chunk_starts_where_the_next_is_made_before_it_is_over() -> None:
    assert wait_before_start_s(Progress(4, 121, 100.0, next_frames=8, next_chunk_s=0.08)) == 0
    assert wait_before_start_s(Progress(4, 121, 100.0, next_frames=8, next_chunk_s=0.2)) == pytest.approx(0.04)
    # The chunk of 16 after it comes 0.16 s later, when 12 frames have been shown.
    assert wait_before_start_s(Progress(4, 121, 40.0, next_frames=8, next_chunk_s=0.2)) == pytest.approx(0.6 - 0.48)


def test_everything_made_may_start_now() -> None:
    assert wait_before_start_s(Progress(100, 0, 1.0)) == 0


def test_slow_machine_waits_for_the_difference() -> None:
    assert wait_before_start_s(Progress(0, 1600, 12.5)) == pytest.approx(1600 / 12.5 - (1600 - 16) / 25)


def test_arriving_sound_is_waited_for_with_room_for_jitter() -> None:
    # The next 8 frames are spoken after 0.16 s and made 0.08 s later, when the 4 that are there have long been shown.
    wait_s = wait_before_start_s(Progress(4, None, 100.0, next_frames=8, arriving_s=0.16))
    assert 0.08 < wait_s < 0.16
    assert wait_before_start_s(Progress(12, None, 100.0, next_frames=8, arriving_s=0.16)) == 0
    assert wait_before_start_s(Progress(4, None, 100.0, next_frames=8)) == 0


def test_sound_that_comes_evenly_is_spared_less_for_where_the_models_take_the_same_time_again() -> None:
    spares = [spare_s(True, uneven_s) for uneven_s in (0.0, 0.02, 0.04, 5.0)]
    assert spares == sorted(spares) and 0 < spares[0] < spares[1] < spares[2] < spares[3] <= 0.1
    assert spare_s(False, 0.0) == spare_s(False, 5.0) > spares[1]
    waits = [wait_before_start_s(Progress(4, None, 100.0, 8, arriving_s=0.16, spare_s=each)) for each in spares]
    assert waits[1] - waits[0] == pytest.approx(spares[1] - spares[0])


def test_a_chunk_whose_time_is_known_is_not_reckoned_by_the_rate() -> None:
    by_rate = Progress(4, None, 100.0, next_frames=8, arriving_s=0.16)
    known = Progress(4, None, 100.0, next_frames=8, arriving_s=0.16, chunk_s=0.11)
    assert wait_before_start_s(known) == pytest.approx(wait_before_start_s(by_rate) + 0.11 - 0.08)


def test_a_chunk_of_somebody_else_who_speaks_is_reckoned_with() -> None:
    alone = Progress(4, None, 100.0, next_frames=8, arriving_s=0.16)
    beside = Progress(4, None, 100.0, next_frames=8, arriving_s=0.16, beside_s=0.1)
    assert wait_before_start_s(beside) == pytest.approx(wait_before_start_s(alone) + 0.1)
    queued = Progress(4, None, 100.0, next_frames=8, arriving_s=0.16, beside_s=0.1, next_chunk_s=0.34)
    assert wait_before_start_s(queued) == pytest.approx(wait_before_start_s(beside)), (
        "what waits there is not counted twice"
    )


def test_features_that_the_next_chunk_still_needs_are_waited_for() -> None:
    progress = Progress(4, 121, 100.0, next_frames=8, features_s=0.12)
    room_s = wait_before_start_s(progress) - (0.12 + 0.08 - 0.16)
    assert 0.04 + 0.12 < room_s < 0.08 + 0.12, "and for what is done beside them"
    arriving = Progress(4, None, 100.0, next_frames=8, arriving_s=0.16)
    with_features = Progress(4, None, 100.0, next_frames=8, features_s=0.12, arriving_s=0.16)
    assert wait_before_start_s(with_features) == pytest.approx(wait_before_start_s(arriving) + 0.12)


def test_generator_that_cannot_keep_up_with_an_unknown_end_holds_a_fixed_time() -> None:
    assert wait_before_start_s(Progress(16, None, 20.0)) > 0
    assert wait_before_start_s(Progress(50, None, 20.0)) == 0


def test_thirty_seconds_are_the_most_that_is_held() -> None:
    assert wait_before_start_s(Progress(749, 1000, 5.0)) > 0
    assert wait_before_start_s(Progress(750, 1000, 5.0)) == 0


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_senseless_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        Progress(0, 10, rate)
