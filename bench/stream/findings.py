"""What the received stream proves: nothing missing, repeated or apart, and each speech as it was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bench.stream.epochs import in_epochs
from bench.stream.plan import RESTARTING, FaultKind
from bench.stream.reading import PartReading
from bench.stream.stand_ins import voice
from streaming.config import FPS, FRAME_SAMPLES, SAMPLE_RATE_HZ

_START_S = 1.0  # stream time of frame 0
_VISIBLE, _WHOLE = 0.09, 0.93  # opacities between which a face fades
_READABLE = 0.75  # opacity below which the picture beneath a face can flip a bit of its number
_SILENT_RMS = 100.0
_EXPLAINED_S = 4.0  # how long after the far end is back a gap still belongs to its outage
_LONGEST_LAG_S = 0.1


@dataclass(frozen=True)
class Said:
    """One accepted speech; the seconds are those of its sound. Times are monotonic.

    A chunk of it is `late` by plan; it `may_wait` for faces for that reason or for a fault.
    """

    number: int
    channel: int
    seconds: float
    frames: int
    state: str
    late: bool = False
    may_wait: bool = False
    interrupted_at: float | None = None


def ordered(said: Sequence[Said], channel: int) -> list[Said]:
    """What was said on a channel, in the order of acceptance."""
    return sorted((each for each in said if each.channel == channel), key=lambda each: each.number)


@dataclass(frozen=True)
class Fault:
    """Something that was broken on purpose, and when it was taken back (the same moment where the product repairs it).

    `speech` is the number of the one that played then, on the channel that was broken.
    """

    kind: str
    at: float
    back_at: float
    speech: int | None = None


@dataclass(frozen=True)
class Outage:
    """A gap in the received pictures and the fault that explains it, None for none."""

    fault: str | None
    frames: int
    on_air_after_s: float


@dataclass(frozen=True)
class ChannelFindings:
    """Everything that was found on one channel; milliseconds, frames and counts."""

    frames_received: int
    outages: list[Outage]
    frames_missing_outside_outages: int
    frames_repeated_or_out_of_order: int
    timestamps_not_monotonic: int
    timestamps_off_the_frame_clock: int
    av_offset_ms: dict[str, float]
    av_drift_ms_per_min: float
    latency_ms: dict[str, float]
    speeches_in_order: list[int]
    speeches_hidden_by_outages: list[int]
    speeches_wrong: list[str]
    waits_unexplained: list[str]
    fades_measured: int
    fades_wrong: list[str]
    speech_lag_ms: dict[str, float]
    sound_without_lips_frames: int
    late_waits_seen: int
    idle_after_interrupt_ms: list[float]


def find(parts: Sequence[PartReading], said: Sequence[Said], faults: Sequence[Fault], fade: int) -> ChannelFindings:
    """Judges the parts of one channel, in the order in which they came, against what was said on it."""
    begins = [False, *(_restarted(before, part, faults) for before, part in pairwise(parts))]
    parts = in_epochs(parts, begins)
    stream = _Stream(parts)
    outages = _outages(stream, faults)
    speeches = [_Spoken(stream, each, fade, epoch) for each in said for epoch in stream.epochs_of(each.number)]
    offsets, times = _av_offsets(parts)
    hidden = [each.number for each in said if _is_hidden(stream, each, outages)]
    seen = [speech for speech in speeches if speech.number not in hidden]
    fades = [fade for speech in speeches for fade in speech.fades()]
    lags = [lag for speech in speeches if (lag := speech.lag_ms()) is not None]
    sound_ms = np.concatenate([part.sound_ms for part in parts])
    backwards = int((np.diff(stream.time_s) <= 0).sum() + (np.diff(sound_ms) <= 0).sum())
    return ChannelFindings(
        frames_received=len(stream.tick),
        outages=outages,
        frames_missing_outside_outages=sum(outage.frames for outage in outages if outage.fault is None),
        frames_repeated_or_out_of_order=int((np.diff(stream.tick) <= 0).sum()),
        timestamps_not_monotonic=backwards,
        timestamps_off_the_frame_clock=int((np.abs(stream.time_s - _START_S - stream.tick / FPS) > 0.002).sum()),
        av_offset_ms=_spread(1000 * offsets),
        av_drift_ms_per_min=round(float(np.polyfit(times, offsets, 1)[0] * 60_000), 4) if len(times) > 10 else 0.0,
        latency_ms=_latency(stream),
        speeches_in_order=_order(stream),
        speeches_hidden_by_outages=hidden,
        speeches_wrong=[problem for speech in seen for problem in speech.problems()],
        waits_unexplained=[wait for speech in seen for wait in speech.unexplained_waits()],
        fades_measured=len(fades),
        fades_wrong=[text for text in fades if text],
        speech_lag_ms=_spread(np.array(lags)),
        sound_without_lips_frames=_sound_without_lips(stream),
        late_waits_seen=sum(speech.waits() for speech in speeches if speech.late),
        idle_after_interrupt_ms=[
            round(_idle_after(stream, each.interrupted_at, faults), 1)
            for each in said
            if each.interrupted_at is not None and not _breaks_off(stream, each.interrupted_at)
        ],
    )


class _Stream:
    """All parts as one; opacity is the face's contrast over that of a whole face."""

    def __init__(self, parts: Sequence[PartReading]) -> None:
        self.parts = parts
        self.tick = np.concatenate([part.tick for part in parts])
        self.time_s = np.concatenate([part.time_s for part in parts])
        self.arrived_s = np.concatenate([part.arrived_s for part in parts])
        self.epoch = np.concatenate([np.full(len(part.tick), part.epoch) for part in parts])
        self.speech = np.concatenate([part.speech for part in parts])
        self.frame = np.concatenate([part.frame for part in parts])
        valid = np.concatenate([part.valid for part in parts])
        contrast = np.concatenate([part.contrast for part in parts])
        whole = float(np.median(contrast[valid])) if valid.any() else 1.0
        self.opacity = np.clip(contrast / whole, 0, None)
        self.valid = valid & (self.opacity > _READABLE)
        self.index = {int(tick): place for place, tick in enumerate(self.tick)}

    def epochs_of(self, number: int) -> list[int]:
        """In which epochs a speech is seen; the first one for a speech that is seen in none."""
        seen = np.unique(self.epoch[self.valid & (self.speech == number)])
        return [int(epoch) for epoch in seen] or [0]

    def samples(self, tick: int) -> NDArray[np.float32] | None:
        """What sounds during a frame; None where it was not received."""
        start = _START_S + tick / FPS
        for part in self.parts:
            for sound in part.sounds:
                found = sound.between(start, start + 1 / FPS)
                if found is not None:
                    return found
        return None


class _Spoken:
    """One speech as it came in one epoch; a later process says it again from its beginning."""

    def __init__(self, stream: _Stream, said: Said, fade: int, epoch: int) -> None:
        self._stream = stream
        self._said = said
        self._fade = fade
        self._is_last = epoch == stream.epochs_of(said.number)[-1]
        self._may_wait = said.may_wait or said.late
        self._places = np.flatnonzero(stream.valid & (stream.speech == said.number) & (stream.epoch == epoch))
        self._ticks = stream.tick[self._places]
        self._frames = stream.frame[self._places]

    @property
    def number(self) -> int:
        """The speech's number."""
        return self._said.number

    @property
    def late(self) -> bool:
        """Whether a chunk was late by plan."""
        return self._said.late

    def problems(self) -> list[str]:
        """Frames that are missing, repeated or out of order, and an end that does not fit the task's."""
        said, name = self._said, f"speech {self._said.number}"
        found = []
        if said.state not in ("done", "cancelled"):
            found.append(f"{name} ended as {said.state}")
        if not len(self._ticks):
            return [*found, f"{name} was not seen"] if said.state == "done" else found
        steps, went_by = np.diff(self._frames), np.diff(self._ticks)
        # But for waits nothing may differ from one frame a tick, through every outage.
        wrong = (steps != went_by) & ~self._is_wait()
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            found.append(f"{name}: frame {self._frames[at + 1]} follows {self._frames[at]} ({int(wrong.sum())} such)")
        is_whole = said.state == "done" and self._is_last
        if is_whole and not self._cut_by_outage() and self._frames[-1] < said.frames - 1 - self._fade:
            found.append(f"{name} ends with frame {self._frames[-1]} of {said.frames}")
        if self._frames[0] > self._fade and not self._cut_by_outage():
            found.append(f"{name} begins with frame {self._frames[0]}")
        return found

    def fades(self) -> list[str]:
        """For each fade that was received whole: what is wrong with it, or an empty text."""
        if not len(self._ticks) or self._said.state != "done" or not self._is_last:
            return []
        stream, fade = self._stream, self._fade
        first = int(self._ticks[0] - self._frames[0])
        last = int(self._ticks[-1] + (self._said.frames - 1 - self._frames[-1]))
        found = []
        rising = [(k + 1) / (fade + 1) for k in range(fade)] + [1.0]
        for name, ticks in (("in", range(first, first + fade + 1)), ("out", range(last, last - fade - 1, -1))):
            places = [stream.index.get(tick) for tick in ticks]
            if None in places:
                continue  # an outage
            opacities = [float(stream.opacity[place]) for place in places if place is not None]
            exact = all(abs(seen - wanted) < 0.5 / (fade + 1) for seen, wanted in zip(opacities, rising, strict=True))
            seen = ", ".join(f"{opacity:.2f}" for opacity in opacities)
            found.append("" if exact else f"speech {self._said.number} fades {name} as {seen}")
        return found

    def lag_ms(self) -> float | None:
        """By how much the speech's sound comes after its faces: the best fit of what was sent; None for too little."""
        stream, said = self._stream, self._said
        sent = voice(said.seconds, said.number)
        frames = np.pad(sent, (0, 20 * FRAME_SAMPLES))
        heard, expected = [], []
        whole = [p for p in self._places if stream.opacity[p] > _WHOLE and stream.tick[p] % FPS not in (0, 1, FPS - 1)]
        for place in whole:
            samples = stream.samples(int(stream.tick[place]))
            frame = int(stream.frame[place])
            if samples is None or frame + 1 >= said.frames:
                continue
            heard.append((int(stream.tick[place]), samples))
            expected.append(frames[frame * FRAME_SAMPLES : (frame + 1) * FRAME_SAMPLES])
        if self._may_wait or len(heard) < FPS:
            return None
        base = heard[0][0]
        one = np.zeros((heard[-1][0] - base + 1) * FRAME_SAMPLES, np.float32)
        other = np.zeros_like(one)
        for (tick, samples), wanted in zip(heard, expected, strict=True):
            place = (tick - base) * FRAME_SAMPLES
            one[place : place + FRAME_SAMPLES] = samples[:FRAME_SAMPLES]
            other[place : place + FRAME_SAMPLES] = wanted
        return _lag_s(one, other) * 1000

    def waits(self) -> int:
        """One where a face was held, or was gone and went on with the next frame."""
        return int((np.diff(self._frames) < np.diff(self._ticks)).any())

    def unexplained_waits(self) -> list[str]:
        """Each wait for faces that nothing was to make late."""
        places = np.flatnonzero(self._is_wait()) if not self._may_wait else np.zeros(0, np.int64)
        late = np.diff(self._ticks) - np.diff(self._frames)
        each = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []
        name = f"speech {self.number}"
        return [f"{name} waits behind frame {self._frames[wait[0]]} for {late[wait].sum()} frames" for wait in each]

    def _is_wait(self) -> NDArray[np.bool_]:
        """Between which two faces the speech stood still: a face that is held repeats its frame.

        It may be gone for a while, and fades in with the next frames, which can't be read. In an outage nobody sees how
        many were shown before or after it.
        """
        steps, went_by = np.diff(self._frames), np.diff(self._ticks)
        unseen = went_by > np.diff(self._places)
        return (steps >= 0) & (went_by > steps) & ((steps <= 1 + self._fade) | unseen)

    def _cut_by_outage(self) -> bool:
        stream = self._stream
        low, high = int(self._ticks[0]) - self._fade - 1, int(self._ticks[-1]) + self._fade + 1
        return any(tick not in stream.index for tick in range(low, high + 1))


def _restarted(before: PartReading, part: PartReading, faults: Sequence[Fault]) -> bool:
    """True when the channel's process was broken between two parts, and its numbers begin anew."""
    gone, again = float(before.arrived_s[-1]), float(part.arrived_s[0])
    broken = any(fault.kind in RESTARTING and _explains(fault, gone, again) for fault in faults)
    return broken and int(part.tick[0]) < int(before.tick[-1])


def _explains(fault: Fault, gone: float, again: float) -> bool:
    return gone < fault.back_at + _EXPLAINED_S and fault.at < again


def _outages(stream: _Stream, faults: Sequence[Fault]) -> list[Outage]:
    found = []
    for place in np.flatnonzero(np.diff(stream.tick) > 1):
        gone, again = float(stream.arrived_s[place]), float(stream.arrived_s[place + 1])
        # The latest that can be the cause: an earlier one may have just passed.
        causes = [fault for fault in faults if _explains(fault, gone, again)]
        fault = max(causes, key=lambda cause: cause.at, default=None)
        frames = int(stream.tick[place + 1] - stream.tick[place] - 1)
        back = max(0.0, again - fault.back_at) if fault is not None else 0.0
        found.append(Outage(fault.kind if fault is not None else None, frames, round(back, 3)))
    return found


def _is_hidden(stream: _Stream, said: Said, outages: Sequence[Outage]) -> bool:
    """True for a speech that was played to its end, or interrupted, where no viewer could see it."""
    seen = bool((stream.valid & (stream.speech == said.number)).any())
    if not seen and said.interrupted_at is not None and _breaks_off(stream, said.interrupted_at):
        return True
    return not seen and said.state == "done" and any(o.fault is not None and o.frames >= said.frames for o in outages)


def _av_offsets(parts: Sequence[PartReading]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Beep minus flash in seconds, and the flash's time, for each second whose both halves were received."""
    offsets, times = [], []
    for part in parts:
        for time_s in part.time_s[part.flash]:
            inside = any(sound.between(time_s - 0.2, time_s + 0.2) is not None for sound in part.sounds)
            if inside and part.time_s[0] + 0.5 < time_s < part.time_s[-1] - 0.5:
                nearest = min((beep - time_s for beep in part.beeps_s), key=abs, default=1.0)
                offsets.append(nearest)
                times.append(time_s)
    return np.array(offsets), np.array(times)


def _order(stream: _Stream) -> list[int]:
    """Speeches in the order in which they are seen; one that is seen twice is there twice."""
    seen = stream.speech[stream.valid]
    return [int(number) for number in seen[np.r_[True, np.diff(seen) != 0]]] if len(seen) else []


def _sound_without_lips(stream: _Stream) -> int:
    """Frames that show no face, nor do their neighbours, and still sound; beeps aside."""
    visible = stream.opacity > _VISIBLE
    near = visible.copy()
    for shift in (1, 2, 3):
        near[shift:] |= visible[:-shift]
        near[:-shift] |= visible[shift:]
    found = 0
    for place in np.flatnonzero(~near):
        tick = int(stream.tick[place])
        samples = stream.samples(tick) if tick % FPS not in (0, 1, FPS - 1) else None
        if samples is not None and float(np.sqrt((samples**2).mean())) > _SILENT_RMS:
            found += 1
    return found


def _idle_after(stream: _Stream, requested: float, faults: Sequence[Fault]) -> float:
    """Milliseconds from an interrupt's request to the arrival of the first picture without a face.

    A server that hangs passes the pictures on when it goes on: what waited there counts as if it had come as late as
    the pictures before.
    """
    later = np.flatnonzero((stream.arrived_s > requested) & (stream.opacity < _VISIBLE))
    if not len(later):
        return float("inf")
    idle = int(later[0])
    arrived = float(stream.arrived_s[idle])
    for fault in faults:
        before = np.flatnonzero((stream.arrived_s < fault.at) & (stream.epoch == stream.epoch[idle]))[-FPS:]
        if fault.kind == FaultKind.SERVER_HUNG and fault.at < arrived and requested < fault.back_at and len(before):
            usual = float(np.median(stream.arrived_s[before] - stream.tick[before] / FPS))
            arrived = min(arrived, float(stream.tick[idle]) / FPS + usual)
    return 1000 * (arrived - requested)


def _breaks_off(stream: _Stream, requested: float) -> bool:
    """True when pictures are missing between an interrupt's request and the first one that could show idle again."""
    before = max(int(np.searchsorted(stream.arrived_s, requested)) - 1, 0)
    later = np.flatnonzero((stream.arrived_s > requested) & (stream.opacity < _VISIBLE))
    last = int(later[0]) if len(later) else len(stream.tick) - 1
    return bool((np.diff(stream.tick[before : last + 1]) > 1).any())


def _latency(stream: _Stream) -> dict[str, float]:
    """How much later than the quickest pictures came; the frame clock's own origin is not in the stream."""
    behind = stream.arrived_s - stream.tick / FPS
    for epoch in np.unique(stream.epoch):
        behind[stream.epoch == epoch] -= np.quantile(behind[stream.epoch == epoch], 0.01)
    return {f"p{p}": round(1000 * float(np.quantile(behind, p / 100)), 1) for p in (50, 95, 99)}


def _lag_s(heard: NDArray[np.float32], sent: NDArray[np.float32]) -> float:
    size = 1 << (len(heard) + len(sent) - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sent, size)), size)
    reach = round(_LONGEST_LAG_S * SAMPLE_RATE_HZ)
    around = np.r_[product[-reach:], product[: reach + 1]]
    return float(np.argmax(around) - reach) / SAMPLE_RATE_HZ


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {"count": 0}
    named = {"min": values.min(), "mean": values.mean(), "max": values.max()}
    return {"count": len(values), **{name: round(float(value), 2) for name, value in named.items()}}
