"""The rate that the start of a speech rests on."""

from speech.pacing import RateMeter


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
