"""The ledger: how long the newest speeches of each channel took to each stage on their way to the first sound."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from prometheus_client import CollectorRegistry, Histogram
from typing_extensions import TypedDict

from orchestrator.clock import Clock
from orchestrator.observability.metrics import PREFIX
from orchestrator.tasks.task import Stage, Task

RECENT = 200
"""Speeches of each channel and kind that the percentiles are of."""
SPEECH_STAGES = (
    Stage.STARTED,
    Stage.FEATURES,
    Stage.FIRST_CHUNK,
    Stage.FIRST_FACE,
    Stage.HANDED_OVER,
    Stage.FIRST_FRAME,
    Stage.ENCODED_OPUS,
    Stage.ENCODED,
)
"""The way of every speech; whatever else leads to one, as a turn of a conversation, has stages of its own in front."""

_BUCKETS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)


class StageJson(TypedDict):
    """A stage: percentiles of the seconds since the speech was received, and of those since the stage before."""

    stage: str
    count: int
    p50_s: float
    p95_s: float
    step_p50_s: float
    step_p95_s: float


class LedgerEntryJson(TypedDict):
    """The newest speeches of one kind on one channel; `waited` of them found it taken, and are in no percentile."""

    channel: str
    kind: str
    speeches: int
    waited: int
    stages: list[StageJson]


@dataclass(frozen=True)
class Passage:
    """Seconds since it was received at which one speech, or one turn, reached each stage, in their order.

    None where it had to wait for what was said before it, or was begun again: that says nothing about the way.
    """

    seconds: Mapping[str, float] | None


class Ledger:
    """Keeps the newest passages in memory, since the server's start, and counts all of them for Prometheus."""

    def __init__(self, registry: CollectorRegistry, clock: Clock, recent: int = RECENT) -> None:
        self._clock = clock
        self._recent = recent
        self._free_since: dict[str, float] = {}
        self._passages: dict[tuple[str, str], deque[Passage]] = {}
        self._seconds = Histogram(
            f"{PREFIX}_speech_stage_seconds",
            "From what there was to say to each stage, of speeches that found their channel free",
            ["channel", "kind", "stage"],
            buckets=_BUCKETS,
            registry=registry,
        )

    def freed(self, channel: str) -> None:
        """A speech that had begun on this channel is over."""
        self._free_since[channel] = self._clock()

    def enter(self, task: Task) -> None:
        """Enter a speech whose first frame has come out of the encoder."""
        if task.attempts > 1 or task.received_at < self._free_since.get(task.channel, 0.0):
            passage = Passage(None)
        else:
            at = {stage.value: task.stamps[stage.value] for stage in SPEECH_STAGES if stage.value in task.stamps}
            passage = Passage({stage: max(0.0, moment - task.received_at) for stage, moment in at.items()})
        self.note(task.channel, task.source.value, passage)

    def note(self, channel: str, kind: str, passage: Passage) -> None:
        """Enter one passage."""
        self._passages.setdefault((channel, kind), deque(maxlen=self._recent)).append(passage)
        for stage, seconds in (passage.seconds or {}).items():
            self._seconds.labels(channel, kind, stage).observe(seconds)

    def forget(self, channel: str) -> None:
        """A channel was removed."""
        self._free_since.pop(channel, None)
        for key in [key for key in self._passages if key[0] == channel]:
            stages = {stage for passage in self._passages.pop(key) for stage in passage.seconds or {}}
            for stage in stages:
                self._seconds.remove(*key, stage)

    def entries(self, channel: str | None = None) -> list[LedgerEntryJson]:
        """Of every channel and kind that has one, or of one channel."""
        return [_entry(*key, passages) for key, passages in sorted(self._passages.items()) if channel in (None, key[0])]


def _entry(channel: str, kind: str, passages: Iterable[Passage]) -> LedgerEntryJson:
    known = [passage.seconds for passage in passages]
    measured = [seconds for seconds in known if seconds is not None]
    return {
        "channel": channel,
        "kind": kind,
        "speeches": len(known),
        "waited": len(known) - len(measured),
        "stages": [_stage(stage, measured) for stage in dict.fromkeys(name for each in measured for name in each)],
    }


def _stage(stage: str, measured: list[Mapping[str, float]]) -> StageJson:
    having = [seconds for seconds in measured if stage in seconds]
    steps = [seconds[stage] - _before(stage, seconds) for seconds in having]
    p50_s, p95_s = np.percentile([seconds[stage] for seconds in having], (50, 95)).round(4)
    step_p50_s, step_p95_s = np.percentile(steps, (50, 95)).round(4)
    return {
        "stage": stage,
        "count": len(having),
        "p50_s": float(p50_s),
        "p95_s": float(p95_s),
        "step_p50_s": float(step_p50_s),
        "step_p95_s": float(step_p95_s),
    }


def _before(stage: str, seconds: Mapping[str, float]) -> float:
    stages = list(seconds)
    place = stages.index(stage)
    return seconds[stages[place - 1]] if place else 0.0
