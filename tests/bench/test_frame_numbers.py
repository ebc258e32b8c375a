"""Weeks of frame numbers on a virtual clock: a short run keeps every promise, and each promise can be broken."""

from datetime import UTC, datetime
from itertools import count

import pytest

from bench.frame_numbers.run import FrameNumbersPlan, FrameNumbersRecord, run_frame_numbers
from streaming.mixer import Mixer
from streaming.packet import Description, Packet, Track
from streaming.pairs import PairQueue
from streaming.timeline import StreamTimeline

DATE = datetime(2026, 1, 1, tzinfo=UTC)


def run() -> FrameNumbersRecord:
    """An hour and a quarter, in which times begin anew three times."""
    plan = FrameNumbersPlan(days=0.05, fault_hours=0.3, timeline_frames=35_000)
    return run_frame_numbers(plan, DATE)


def test_every_frame_arrives_once_at_its_time_over_encoders_stalls_and_new_epochs() -> None:
    record = run()
    assert record.broken == ()
    assert record.pictures_received == record.ticks == 108_000
    assert (record.epochs, record.connections) == (4, 4)
    assert record.encoder_runs > 6
    assert record.stalls == 2
    assert record.speeches_completed > 10 and record.speeches_interrupted > 0 and record.underruns > 0


def test_a_mixer_that_skips_a_frame_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    tick = Mixer.tick

    def skipping(self: Mixer) -> object:
        if self._current is not None and self._current.played == 7 and self._current.available > 8:
            self._current.played += 1
        return tick(self)

    monkeypatch.setattr(Mixer, "tick", skipping)
    assert any("frame 8 follows 6" in fault for fault in run().broken)


def test_a_run_that_goes_on_past_the_end_of_its_epoch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = PairQueue.begin_run

    def endless(self: PairQueue, timeout_s: float) -> tuple[int, int] | None:
        begun = begin(self, timeout_s)
        self._last_tick = 1 << 40
        return begun

    monkeypatch.setattr(PairQueue, "begin_run", endless)
    assert any("was due" in fault for fault in run().broken)


def test_a_timeline_that_loses_a_picture_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = StreamTimeline.receive
    pictures = count()

    def losing(self: StreamTimeline, message: Description | Packet) -> None:
        picture = isinstance(message, Packet) and message.track is Track.H264
        if not picture or next(pictures) != 20_000:
            receive(self, message)

    monkeypatch.setattr(StreamTimeline, "receive", losing)
    assert any("was due" in fault for fault in run().broken)
