"""Frame numbers of weeks through frame clock, mixer, pairs, encoder times, FLV and a target, as fast as it goes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

import numpy as np

from bench.frame_numbers.checks import ClockCheck, ReceivedCheck
from bench.frame_numbers.speeches import DrawnSpeeches
from bench.frame_numbers.stand_ins import FRAME_MS, NumberingEncoder, Target, VirtualTime
from streaming.clock import FrameClock
from streaming.config import FPS, ChannelConfig
from streaming.frame_pool import FramePool
from streaming.mixer import Mixer
from streaming.pair import Pair
from streaming.pairs import PairQueue
from streaming.timeline import StreamTimeline

_DAY_TICKS = 24 * 3600 * FPS
_AVATAR_FRAMES = 250
_SHORT_STALL_S, _LONG_STALL_S = 0.3, 3.0  # the clock makes up for the first, and moves its schedule by the second


@dataclass(frozen=True)
class FrameNumbersPlan:
    """So many days; an encoder that dies and a stall of the process every so many hours."""

    days: float = 30.0
    seed: int = 0
    fault_hours: float = 6.0
    timeline_frames: int = 24 * _DAY_TICKS


@dataclass(frozen=True)
class FrameNumbersRecord:
    """What came out; `broken` names each broken promise, and is empty where all were kept."""

    date: str
    plan: FrameNumbersPlan
    ticks: int
    took_s: float
    encoder_runs: int
    stalls: int
    epochs: int
    connections: int
    pictures_received: int
    largest_time_ms: int
    largest_av_offset_ms: int
    largest_clock_error_ms: float
    speeches_completed: int
    speeches_interrupted: int
    spoken_frames: int
    underruns: int
    broken: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken

    def to_json(self) -> str:
        """The record as JSON."""
        return json.dumps(asdict(self), indent=2)


def run_frame_numbers(
    plan: FrameNumbersPlan, date: datetime, report: Callable[[str], None] = lambda line: None
) -> FrameNumbersRecord:
    """Run the plan; `report` gets a line for each day."""
    began = time.monotonic()
    stream = _Stream(plan)
    ticks = round(plan.days * _DAY_TICKS)
    for tick in range(ticks):
        stream.tick(tick)
        if tick % _DAY_TICKS == _DAY_TICKS - 1:
            report(f"day {(tick + 1) // _DAY_TICKS} of {plan.days:g} after {time.monotonic() - began:.0f} s")
    return stream.record(ticks, time.monotonic() - began, date)


class _Stream:
    """A channel's parts that count frames, joined as the channel's process joins them."""

    def __init__(self, plan: FrameNumbersPlan) -> None:
        config = ChannelConfig("main", "", "", timeline_frames=plan.timeline_frames)
        self._plan = plan
        self._config = config
        self._fault_ticks = round(plan.fault_hours * 3600 * FPS)
        self._time = VirtualTime(plan.seed)
        self._clock = FrameClock(self._time.now, self._time.sleep)
        self._clock_check = ClockCheck()
        self._mixer = Mixer(config.mouth_fade_frames, config.linger_frames, _AVATAR_FRAMES)
        self._speeches = DrawnSpeeches(self._mixer, plan.seed)
        self._counts = self._speeches.counts
        self._queue = PairQueue(config.queue_frames, FramePool(1, 1), plan.timeline_frames)
        self._picture = np.zeros((1, 1, 3), np.uint8)
        self._encoder: NumberingEncoder | None = None
        self._run = 0
        self._runs = 0
        self._timeline = StreamTimeline()
        self._target = Target(self._timeline)
        self._received = ReceivedCheck(plan.timeline_frames, self._counts.fault)

    def tick(self, tick: int) -> None:
        """One frame, from its time to the target."""
        self._stall(tick)
        number = self._clock.wait()
        self._clock_check.released(number, self._time.now())
        if number != tick:
            self._counts.fault(f"the clock releases frame {number} where {tick} is due")
        self._speeches.before(tick)
        self._speeches.shown(self._mixer.tick())
        self._queue.put(Pair(tick, self._picture, number.to_bytes(8, "big"), pooled=False))
        if tick % self._fault_ticks == self._fault_ticks - 1:
            self._queue.end_run(self._run)  # the encoder dies, and the next one goes on with this very pair
            self._queue.take(self._run)  # its writer has written the one before
            self._encoder = None
        if not self._encode(tick):  # the run ends before this pair: times begin anew with it
            self._encoder = None
            self._encode(tick)
        self._received.received(self._target.received())

    def _stall(self, tick: int) -> None:
        faults, at = divmod(tick, self._fault_ticks)
        if at == self._fault_ticks // 2:
            self._time.stall(_SHORT_STALL_S if faults % 2 else _LONG_STALL_S)
            self._clock_check.stalled(tick)

    def _encode(self, tick: int) -> bool:
        """Hand the pair to the encoder, a new one where there is none; False where its run has ended."""
        encoder = self._encoder or self._begin_run()
        pair = self._queue.take(self._run)
        if pair is None:
            return False
        if not pair.tick == int.from_bytes(pair.sound, "big") == tick:
            self._counts.fault(f"the encoder gets pair {pair} at tick {tick}")
        for packet in encoder.encode(tick):
            self._timeline.receive(packet)
        return True

    def _begin_run(self) -> NumberingEncoder:
        begun = self._queue.begin_run(0)
        assert begun is not None, "a pair was put just now"
        self._run, first = begun
        if first // self._plan.timeline_frames > self._timeline.epoch:
            self._timeline.begin_epoch()
            self._received.begin_epoch()
        self._runs += 1
        self._encoder = NumberingEncoder(self._config, self._runs, first)
        self._timeline.receive(self._encoder.begin())
        return self._encoder

    def record(self, ticks: int, took_s: float, date: datetime) -> FrameNumbersRecord:
        """What came out."""
        counts, received = self._counts, self._received
        if received.pictures != ticks:
            counts.fault(f"{received.pictures} of {ticks} pictures arrived")
        if self._clock_check.largest_error_ms > FRAME_MS:
            counts.fault(f"a frame was released {self._clock_check.largest_error_ms:.1f} ms from its time")
        return FrameNumbersRecord(
            date=date.isoformat(timespec="seconds"),
            plan=self._plan,
            ticks=ticks,
            took_s=round(took_s, 1),
            encoder_runs=self._runs,
            stalls=self._clock.stalls,
            epochs=self._timeline.epoch + 1,
            connections=self._target.connections,
            pictures_received=received.pictures,
            largest_time_ms=received.largest_ms,
            largest_av_offset_ms=received.largest_offset_ms,
            largest_clock_error_ms=round(self._clock_check.largest_error_ms, 3),
            speeches_completed=counts.completed,
            speeches_interrupted=counts.interrupted,
            spoken_frames=counts.frames,
            underruns=counts.underruns,
            broken=tuple(counts.broken),
        )
