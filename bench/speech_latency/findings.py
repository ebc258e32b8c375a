"""What the received sound and the server's stamps prove of the speeches that were said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.speech_latency.clients import Said
from bench.speech_latency.marks import EVERY_S, find_marks
from bench.stream.reading import read_sounds
from bench.stream.receiver import Part

# The ledger's stages, and from which one each step comes. What happens side by side is no step of its own.
_STAGES = (
    "received",
    "decoded",
    "started",
    "features",
    "first_chunk",
    "first_face",
    "handed_over",
    "first_frame",
    "encoded_opus",
    "encoded",
)
_LATE_S = 1.0
_SETTLED_S = 10.0


@dataclass(frozen=True)
class Spread:
    """Of `count` values in ms; all None where there is none."""

    count: int
    p50: float | None
    p95: float | None
    most: float | None

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread:
        """Of values in seconds."""
        values = 1000 * np.array(list(seconds), np.float64)
        if not len(values):
            return cls(0, None, None, None)
        p50, p95 = np.percentile(values, (50, 95))
        return cls(len(values), round(float(p50), 1), round(float(p95), 1), round(float(values.max()), 1))


@dataclass(frozen=True)
class Heard:
    """All marks that a viewer heard: when each arrived, by the monotonic clock, and of which frame it is.

    A mark arrives with its frame, and as much later as it lies behind the frame's beginning: that is when it is heard.
    `frames` counts frames by the stream's own time.
    """

    arrived_at: NDArray[np.float64]
    frames: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Iterable[Part], ffmpeg: str) -> Heard:
        """What is in the received parts."""
        arrived: list[NDArray[np.float64]] = []
        frames: list[NDArray[np.int64]] = []
        for part in parts:
            shown_s, came = np.array(part.picture_ms) / 1000, np.array(part.arrived_s)
            for sound in read_sounds(part, ffmpeg):
                marks = find_marks(sound)
                at = np.clip(np.searchsorted(shown_s, marks + 0.0005, side="right") - 1, 0, len(shown_s) - 1)
                arrived.append(came[at] + marks - shown_s[at])
                frames.append(np.round(shown_s[at] * 25).astype(np.int64))
        if not arrived:
            return cls(np.zeros(0), np.zeros(0, np.int64))
        return cls(np.concatenate(arrived), np.concatenate(frames))

    def of_speech(self, said: Said) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Arrivals and frame numbers of one speech's marks."""
        its = (self.arrived_at > said.asked_at) & (self.arrived_at < said.over_at + _LATE_S)
        return self.arrived_at[its], self.frames[its]


@dataclass(frozen=True)
class FirstSounds:
    """One way to speak, again and again on an idle channel: from the request to the first sound.

    `at_encoder` ends when the frame with the first sample came out of the encoder, `opus_at_encoder` when it had with
    Opus, and `at_viewer` when it had been published, received and read; `steps_ms` are medians of the task's own
    stamps, each from the one before, the first from the request. `load_average` is that of the machine in the minute
    before the end.
    """

    way: str
    at_encoder: Spread
    opus_at_encoder: Spread
    at_viewer: Spread
    unheard: int
    steps_ms: dict[str, float]
    counters: dict[str, int]
    load_average: float


@dataclass(frozen=True)
class Microphones:
    """Speech at the pace of a microphone for some minutes: from a spoken sample to its frame at the encoder.

    `drift_ms` is the slope of a line through that time over the run; of one of more than 20 s without the
    first ten, in which a speech that began late catches up. `sample_to_opus` ends `aac_ms` earlier, when the frame had
    come out with Opus. `by_minute_ms` has the median of each minute's marks. Marks
    that weren't heard are `unheard`.
    """

    channels: int
    minutes: float
    first_sound: Spread
    sample_to_frame: Spread
    sample_to_opus: Spread
    aac_ms: float
    by_channel: dict[str, Spread]
    drift_ms: dict[str, float | None]
    unheard: int
    counters: dict[str, int]
    load_average: float
    by_minute_ms: dict[str, list[float]] = field(default_factory=dict)
    series_ms: dict[str, list[float]] = field(default_factory=dict)


def first_sounds(
    way: str, speeches: Sequence[Said], heard: Heard, counters: Mapping[str, int], load_average: float
) -> FirstSounds:
    """What is to say of a row of speeches."""
    viewed = [heard.of_speech(said)[0] for said in speeches]
    return FirstSounds(
        way=way,
        at_encoder=Spread.of(said.encoded_at - said.asked_at for said in speeches),
        opus_at_encoder=Spread.of(said.opus_at - said.asked_at for said in speeches),
        at_viewer=Spread.of(
            marks[0] - said.asked_at for said, marks in zip(speeches, viewed, strict=True) if len(marks)
        ),
        unheard=sum(not len(marks) for marks in viewed),
        steps_ms=_steps(speeches),
        counters=dict(counters),
        load_average=load_average,
    )


def microphones(
    speeches: Sequence[Said],
    heard: Mapping[str, Heard],
    marks: int,
    path_s: float,
    counters: Mapping[str, int],
    minutes: float,
    load_average: float,
) -> Microphones:
    """What is to say of microphones that spoke at once; `path_s` is the time from the encoder to the viewer."""
    lags = {said.channel: _lags(said, heard[said.channel], marks) for said in speeches}
    aac_s = float(np.median([said.encoded_at - said.opus_at for said in speeches]))
    taken = {name: lag - path_s for name, (_, lag) in lags.items()}
    return Microphones(
        channels=len(speeches),
        minutes=minutes,
        first_sound=Spread.of(said.encoded_at - said.asked_at for said in speeches),
        sample_to_frame=Spread.of(np.concatenate(list(taken.values()))),
        sample_to_opus=Spread.of(np.concatenate(list(taken.values())) - aac_s),
        aac_ms=round(1000 * aac_s, 1),
        by_channel={name: Spread.of(each) for name, each in taken.items()},
        drift_ms={name: _drift_ms(*lags[name]) for name in lags},
        unheard=sum(max(0, marks - len(lag)) for _, lag in lags.values()),
        counters=dict(counters),
        load_average=load_average,
        by_minute_ms={name: _by_minute_ms(lags[name][0], each) for name, each in taken.items()},
        series_ms={name: [round(1000 * float(lag), 1) for lag in each] for name, each in taken.items()},
    )


def path_to_viewer_s(speeches: Sequence[Said], heard: Heard) -> float:
    """The median time from a frame that came out of the encoder to the same frame at the viewer."""
    paths = [marks[0] - said.encoded_at for said in speeches if len(marks := heard.of_speech(said)[0])]
    return float(np.median(paths)) if paths else 0.0


def _lags(said: Said, heard: Heard, marks: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When each mark was spoken, counted from the first, and how much later its frame arrived at the viewer."""
    arrived, frames = heard.of_speech(said)
    if not len(arrived):
        return np.zeros(0), np.zeros(0)
    number = np.arange(len(frames), dtype=np.float64)
    if len(frames) != marks:
        # Some weren't found. The frames' numbers move on with the marks, a second each, but for what was late between
        # two of them or left out.
        number[1:] = np.cumsum(np.maximum(1, np.round(np.diff(frames) / (25 * EVERY_S))))
    return number * EVERY_S, arrived - (said.asked_at + number * EVERY_S)


def _by_minute_ms(spoken_s: NDArray[np.float64], lag_s: NDArray[np.float64]) -> list[float]:
    minutes = np.asarray(spoken_s // 60, np.int64)
    return [round(1000 * float(np.median(lag_s[minutes == minute])), 1) for minute in np.unique(minutes)]


def _drift_ms(spoken_s: NDArray[np.float64], lag_s: NDArray[np.float64]) -> float | None:
    if len(spoken_s) and spoken_s[-1] > 2 * _SETTLED_S:
        settled = spoken_s >= _SETTLED_S
        spoken_s, lag_s = spoken_s[settled], lag_s[settled]
    if len(spoken_s) < 3:
        return None
    return round(float(1000 * np.polyfit(spoken_s, lag_s, 1)[0] * (spoken_s[-1] - spoken_s[0])), 2)


def _steps(speeches: Sequence[Said]) -> dict[str, float]:
    rows: dict[str, list[float]] = {}
    for said in speeches:
        timings: dict[str, Any] = said.task["timings_s"]
        # From the request to what the task counts from is the first step.
        begun = said.encoded_at - timings["encoded"] - said.asked_at
        steps = {"request": begun}
        before = 0.0
        for stage in sorted((s for s in _STAGES if s in timings), key=lambda s: float(timings[s])):
            steps[stage], before = timings[stage] - before, timings[stage]
        for stage, seconds in steps.items():
            rows.setdefault(stage, []).append(seconds)
    return {stage: round(1000 * float(np.median(values)), 1) for stage, values in rows.items()}
