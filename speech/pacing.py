"""The pace of generation: frames a second within a speech, and what earlier speeches took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from speech.source import SpeechSource

# The time until the first speech of a source may start, once its sound is there.
_FIRST_READY_S, _FIRST_READY_ON_GPU_S = 0.28, 0.15
_LONGEST_READY_S = 10.0
# Idle that comes to the place of a speech too late is a delay that everyone notices. Idle that comes up to 0.16 s too
# early is none: it slows down there. After that it turns back, and its way forth again is a delay of up to 0.4 s.
_IDLE_EARLY_S = 0.08


@dataclass
class Pace:
    """Measurements of earlier speeches: seconds until one may start, by its source, and the rate in frames/s."""

    frames_per_s: float | None = None
    whisper_s: float | None = None
    """What a window of Whisper's took in the last speech, where that was live speech, else in the first one."""
    _ready_s: dict[SpeechSource, float] = field(default_factory=dict)

    def lead_s(self, source: SpeechSource, spoken_s: float = 0.0, on_gpu: bool = False) -> float:
        """Seconds that idle has to come to the place of the next speech of a source.

        `spoken_s` is the time until the sound of its first faces has been spoken, `on_gpu` says where they are made.
        """
        first_s = spoken_s + (_FIRST_READY_ON_GPU_S if on_gpu else _FIRST_READY_S)
        return max(0.0, self._ready_s.get(source, first_s) - _IDLE_EARLY_S)

    def heard(self, source: SpeechSource, whisper_s: float | None) -> None:
        """Whisper took so long for a window of a speech; an upload's is one of the whole, beside its decoder."""
        if source is not SpeechSource.UPLOAD or self.whisper_s is None:
            self.whisper_s = whisper_s or self.whisper_s

    def learn(self, source: SpeechSource, lead_s: float, ready_s: float) -> None:
        """A speech for which idle had `lead_s` could start after `ready_s`.

        A longer time counts by half, a shorter one at once, so that one slow speech doesn't delay all later ones.
        """
        known = lead_s + _IDLE_EARLY_S
        self._ready_s[source] = min(ready_s, (known + ready_s) / 2, _LONGEST_READY_S)


class RateMeter:
    """Frames per second while requests are in flight; waiting for the player does not count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._running = 0
        self._since = 0.0
        self._busy_s = 0.0
        self._frames = 0

    def started(self) -> None:
        """A request for frames was sent."""
        if self._running == 0:
            self._since = self._clock()
        self._running += 1

    def ended(self, frames: int) -> None:
        """A request was answered with `frames` frames, 0 when it failed."""
        self._running -= 1
        self._frames += frames
        if self._running == 0:
            self._busy_s += self._clock() - self._since

    @property
    def busy_s(self) -> float:
        """Seconds during which at least one request was in flight."""
        return self._busy_s + (self._clock() - self._since if self._running else 0.0)

    @property
    def frames_per_s(self) -> float | None:
        """The rate until now; None before the first frame."""
        return self._frames / self.busy_s if self._frames and self.busy_s > 0 else None
