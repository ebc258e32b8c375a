"""Speeches drawn from a seed, given to a mixer as a generator would, and what the mixer shows of them, checked."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from streaming.config import FPS
from streaming.events import EndReason, SpeechEnded, SpeechStarted
from streaming.mixer import Mixer, Tick

_CHUNK = 16


@dataclass
class _Drawn:
    id: str
    frames: int
    frames_per_s: float
    interrupt_at: int | None
    made: float = 0.0
    available: int = 0
    finished: bool = False


@dataclass
class SpeechCounts:
    """Counts of speeches, and a description of each broken promise (the first hundred)."""

    completed: int = 0
    interrupted: int = 0
    underruns: int = 0
    frames: int = 0
    broken: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """A promise was broken."""
        if len(self.broken) < 100:
            self.broken.append(text)


class DrawnSpeeches:
    """One speech after another, seconds to minutes apart: 1 to 20 s long, some made too slowly, some interrupted."""

    def __init__(self, mixer: Mixer, seed: int) -> None:
        self.counts = SpeechCounts()
        self._mixer = mixer
        self._random = random.Random(seed)
        self._number = 0
        self._current: _Drawn | None = None
        self._next_at = 50
        self._start: int | None = None
        self._shown = 0
        self._position = mixer.position

    def before(self, tick: int) -> None:
        """Accept, generate or interrupt the speeches that are due before this tick."""
        speech = self._current
        if speech is None:
            if tick >= self._next_at:
                self._reserve(tick)
            return
        if not speech.finished:
            speech.made += speech.frames_per_s / FPS
            made = min(speech.frames, int(speech.made) // _CHUNK * _CHUNK)
            if speech.made >= speech.frames:
                made = speech.frames
            if made > speech.available:
                speech.available = made
                self._mixer.available(speech.id, made)
            if made == speech.frames:
                self._mixer.end(speech.id, made)
                speech.finished = True
        if speech.interrupt_at is not None and tick >= speech.interrupt_at:
            speech.interrupt_at = None
            self._mixer.cancel(speech.id)

    def shown(self, tick: Tick) -> None:
        """Check what a tick shows."""
        step = tick.position - self._position
        if not -1 <= step <= 1:
            self.counts.fault(f"tick {tick.tick}: the body jumps by {step} positions")
        self._position = tick.position
        for event in tick.events:
            if isinstance(event, SpeechStarted):
                self._start, self._shown = event.position, 0
        if tick.audio is not None:
            if tick.audio != tick.face:
                self.counts.fault(f"tick {tick.tick}: sound of frame {tick.audio} with face {tick.face}")
            if tick.audio != self._shown:
                self.counts.fault(f"tick {tick.tick}: frame {tick.audio} follows {self._shown - 1}")
            if self._start is None or tick.position != self._start + tick.audio:
                self.counts.fault(f"tick {tick.tick}: frame {tick.audio} is pasted at position {tick.position}")
            self._shown += 1
            self.counts.frames += 1
        for event in tick.events:
            if isinstance(event, SpeechEnded):
                self._ended(event, tick)

    def _ended(self, event: SpeechEnded, tick: Tick) -> None:
        speech = self._current
        if speech is None or event.speech_id != speech.id:
            self.counts.fault(f"tick {tick.tick}: {event.speech_id} ends, which is not spoken")
            return
        if event.reason is EndReason.COMPLETED:
            self.counts.completed += 1
            if self._shown != speech.frames:
                self.counts.fault(f"tick {tick.tick}: {speech.id} showed {self._shown} of {speech.frames} frames")
        else:
            self.counts.interrupted += 1
        self.counts.underruns = self._mixer.counters.late_waits
        self._current = None
        self._next_at = tick.tick + round(FPS * self._random.uniform(0.2, 90))

    def _reserve(self, tick: int) -> None:
        draw = self._random
        frames = draw.randint(FPS, 20 * FPS)
        self._number += 1
        interrupt_at = tick + draw.randint(1, frames + 50) if draw.random() < 0.1 else None
        rate = draw.uniform(15, 24) if draw.random() < 0.1 else draw.uniform(30, 140)
        self._current = _Drawn(f"speech-{self._number}", frames, rate, interrupt_at)
        self._mixer.open(self._current.id, frames, lead_frames=draw.randint(0, 20), start_after=_CHUNK)
