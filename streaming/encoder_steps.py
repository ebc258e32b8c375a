"""The steps by which an encoder that can't keep up is relieved, and when one is taken. No clock, no I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction

from streaming.config import FPS, ChannelConfig

_PRESETS = ("slow", "medium", "fast", "faster", "veryfast", "superfast", "ultrafast")
_STEP_PRESETS = ("veryfast", "superfast", "ultrafast")
_STEP_SCALES = (Fraction(2, 3), Fraction(1, 2))
_FRAME_STEPS = (2, 5)
_SMALLEST_SIDE = 128

_LAG_S = 0.8
"""The encoder is late when more than this waits for it."""
_CALM_S = 0.3
_SETTLE_S = 1.0
"""A new run is judged after this: its process has to start."""
_WINDOW_S = 1.0
_CATCHING_UP = 1.1
_HALF = 0.6
_LONG_LAG_S = 1.6
"""An encoder slower than `_HALF` of real time, or with a backlog longer than this, is relieved by two steps at once."""
_PATIENCE_S = 30.0
_LONGEST_PATIENCE_S = 600.0


@dataclass(frozen=True)
class EncoderStep:
    """How a run encodes: x264's preset, the scale of the picture's sides, and one of how many frames has a picture."""

    name: str
    preset: str
    scale: Fraction = Fraction(1)
    frame_step: int = 1


def ladder(config: ChannelConfig, size: tuple[int, int]) -> tuple[EncoderStep, ...]:
    """All steps of a channel whose picture has this size, from the configured one to the one that costs least."""
    first = EncoderStep("as configured", config.x264_preset)
    rank = {name: number for number, name in enumerate(_PRESETS)}
    faster = [name for name in _STEP_PRESETS if rank[name] > rank.get(config.x264_preset, len(_PRESETS))]
    presets = [EncoderStep(f"preset {name}", name) for name in faster]
    fastest = presets[-1].preset if presets else config.x264_preset
    smaller = [
        EncoderStep(f"picture {scale}", fastest, scale) for scale in _STEP_SCALES if min(size) * scale >= _SMALLEST_SIDE
    ]
    scale = smaller[-1].scale if smaller else Fraction(1)
    fewer = [EncoderStep(f"{FPS / each:g} frames/s", fastest, scale, each) for each in _FRAME_STEPS]
    return (first, *presets, *smaller, *fewer)


class StepPolicy:
    """Chooses the step from how much waits for the encoder and how fast it takes it.

    Down where the backlog is long and doesn't shrink. Up, one step at a time, after `_PATIENCE_S` without a backlog;
    there is no way to know beforehand whether there is room, so a step that soon has to be taken back doubles the
    patience for the next try, up to ten minutes.
    """

    def __init__(self, steps: tuple[EncoderStep, ...]) -> None:
        self.steps = steps
        self.index = 0
        self._begun = 0.0
        self._samples: deque[tuple[float, float]] = deque()  # (time, seconds of stream taken)
        self._calm_since: float | None = None
        self._raised: float | None = None
        self._patience_s = _PATIENCE_S

    @property
    def step(self) -> EncoderStep:
        """The step that the next run shall use."""
        return self.steps[self.index]

    def begin(self, now: float) -> None:
        """A run begins: what the one before took says nothing about this one."""
        self._begun = now
        self._samples.clear()
        self._calm_since = None

    def observe(self, now: float, waiting_s: float, taken_s: float) -> EncoderStep:
        """The step to use from now on.

        `waiting_s` are the seconds of stream that wait for the encoder, `taken_s` those that it has taken since the
        start of the channel.
        """
        while self._samples and self._samples[0][0] < now - _WINDOW_S:
            self._samples.popleft()
        self._samples.append((now, taken_s))
        if waiting_s > _CALM_S:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        if waiting_s > _LAG_S and now - self._begun >= _SETTLE_S:
            self._relieve(now, waiting_s)
        elif self._calm_since is not None and now - self._calm_since >= self._patience_s:
            self._raise(now)
        return self.step

    def _relieve(self, now: float, waiting_s: float) -> None:
        began, taken_s = self._samples[0]
        if now <= began:
            return
        speed = (self._samples[-1][1] - taken_s) / (now - began)
        if speed >= _CATCHING_UP:
            return
        steps = 2 if speed < _HALF or waiting_s > _LONG_LAG_S else 1
        self.index = min(self.index + steps, len(self.steps) - 1)
        if self._raised is not None:
            soon = now - self._raised < 2 * self._patience_s
            self._patience_s = min(2 * self._patience_s, _LONGEST_PATIENCE_S) if soon else _PATIENCE_S
            self._raised = None
        self._samples.clear()
        self._calm_since = None

    def _raise(self, now: float) -> None:
        if self.index > 0:
            self.index -= 1
            self._raised = now
        self._calm_since = now
