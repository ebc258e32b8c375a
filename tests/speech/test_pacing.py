"""The rate that the start of a speech rests on, and the time that idle has to come to its place."""

import pytest

from speech.pacing import Pace, RateMeter
from speech.source import SpeechSource


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


def test_idle_has_the_time_that_speeches_of_the_same_source_took() -> None:
    pace = Pace()
    first = pace.lead_s(SpeechSource.UPLOAD)
    assert pace.lead_s(SpeechSource.MICROPHONE, spoken_s=0.44) == pytest.approx(first + 0.44)
    leads = []
    for _ in range(20):
        leads.append(pace.lead_s(SpeechSource.UPLOAD))
        pace.learn(SpeechSource.UPLOAD, leads[-1], ready_s=0.9)
    assert leads == sorted(leads)
    assert 0.9 - 0.16 <= leads[-1] < 0.9, "a little early: that costs nothing"
    assert pace.lead_s(SpeechSource.STREAM) == first, "others take another time"


def test_first_speech_on_a_gpu_is_expected_earlier_until_it_is_known_better() -> None:
    pace = Pace()
    assert pace.lead_s(SpeechSource.UPLOAD, on_gpu=True) < pace.lead_s(SpeechSource.UPLOAD) - 0.1
    pace.learn(SpeechSource.UPLOAD, pace.lead_s(SpeechSource.UPLOAD, on_gpu=True), ready_s=0.9)
    assert pace.lead_s(SpeechSource.UPLOAD, on_gpu=True) == pace.lead_s(SpeechSource.UPLOAD) > 0.3


def test_one_slow_speech_delays_no_later_ones() -> None:
    pace = Pace()
    for ready_s in (0.5, 0.5, 0.5, 5.0, 0.5):
        pace.learn(SpeechSource.UPLOAD, pace.lead_s(SpeechSource.UPLOAD), ready_s)
    assert pace.lead_s(SpeechSource.UPLOAD) < 0.5
