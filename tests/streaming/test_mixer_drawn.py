"""What the mixer promises whenever frames, ends, speeches and interrupts come: drawn from a seed, tick by tick."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import pytest

from streaming.events import EndReason, MixerState, SpeechEnded, SpeechStarted
from streaming.mixer import Mixer, Tick

PERIOD = 200


@dataclass
class Source:
    """Writes a speech in chunks at its own rate, with gaps; its end is told `end_after` ticks after its last frame."""

    id: str
    frames: int
    rate: float
    end_after: int
    gaps: dict[int, int]
    is_open_ended: bool
    made: float = 0.0
    written: int = 0
    ended: bool = False

    def step(self, mixer: Mixer, chunk: int) -> None:
        if self.gaps.get(self.written, 0) > 0:
            self.gaps[self.written] -= 1
            return
        self.made += self.rate
        ready = min(self.frames, int(self.made) // chunk * chunk if self.made < self.frames else self.frames)
        if ready > self.written:
            self.written = ready
            mixer.available(self.id, ready)
        if self.written == self.frames and not self.ended:
            self.end_after -= 1
            if self.end_after < 0:
                self.ended = True
                mixer.end(self.id, self.frames)


@dataclass
class Played:
    """All ticks of a run, what was said, and what was cancelled: before which tick, and after how many heard frames."""

    ticks: list[Tick]
    said: list[Source]
    heard: dict[str, int]
    cut_at: dict[str, int]

    def note(self, tick: int, heard: dict[str, int]) -> None:
        """The answer to a cancellation; another one of the same speech changes nothing."""
        self.heard = {**heard, **self.heard}
        self.cut_at = {**dict.fromkeys(heard, tick), **self.cut_at}


def played(seed: int, fade: int) -> Played:
    draw = random.Random(seed)
    mixer = Mixer(fade, linger_frames=4, period=PERIOD)
    sources: list[Source] = []
    found = Played([], sources, {}, {})
    chunk = draw.choice([1, 4, 8, 16])
    for tick in range(1500):
        last = sources[-1] if sources else None
        may_open = last is None or last.ended or not last.is_open_ended or last.id in found.heard
        if may_open and tick < 900 and draw.random() < 0.03:
            frames = draw.randint(1, 120)
            gaps = {draw.randint(0, frames): draw.choice([1, 2, 3, 7, 30, 80]) for _ in range(draw.randint(0, 3))}
            rate, end_after = draw.choice([0.7, 1.0, 3.0, 16.0]), draw.choice([0, 1, 2, 4, 20])
            source = Source(f"s{len(sources)}", frames, rate, end_after, gaps, draw.random() < 0.6)
            mixer.open(
                source.id, None if source.is_open_ended else frames, draw.randint(0, 12), draw.choice([1, 4, 16])
            )
            sources.append(source)
        for source in sources:
            if source.id not in found.heard and not source.ended:
                source.step(mixer, chunk)
        if draw.random() < 0.004:
            found.note(tick, {speech: mixer.cancel(speech) for speech in mixer.speeches})
        elif draw.random() < 0.004 and mixer.speeches:
            speech = draw.choice(mixer.speeches)
            found.note(tick, {speech: mixer.cancel(speech)})
        found.ticks.append(mixer.tick())
    assert mixer.speeches == [], "all is over in the end"
    return found


@pytest.mark.parametrize("fade", [0, 2, 5])
@pytest.mark.parametrize("seed", range(60))
def test_whatever_comes_when(seed: int, fade: int) -> None:
    run = played(seed, fade)
    ticks = run.ticks
    ends = [event for tick in ticks for event in tick.events if isinstance(event, SpeechEnded)]
    begun = {
        event.speech_id: event.position for tick in ticks for event in tick.events if isinstance(event, SpeechStarted)
    }
    assert Counter(end.speech_id for end in ends) == {source.id: 1 for source in run.said}, "each ends exactly once"
    for source in run.said:
        (end,) = (end for end in ends if end.speech_id == source.id)
        sounding = [tick for tick in ticks if tick.speech == source.id and tick.audio is not None]
        heard = [tick.audio for tick in sounding]
        assert heard == list(range(end.played_frames)), "nothing is skipped, repeated or out of order"
        if source.id not in run.heard:
            assert (end.reason, end.played_frames) == (EndReason.COMPLETED, source.frames)
        else:
            assert end.played_frames == run.heard[source.id] or end.reason is EndReason.COMPLETED
        if sounding:
            assert [tick.position - tick.audio for tick in sounding if tick.audio is not None] == [
                begun[source.id]
            ] * len(sounding), "each face is on the frame that it was made for"
            assert all(tick.speech != source.id for tick in ticks[run.cut_at.get(source.id, len(ticks)) + 1 :])
    assert all(tick.audio is None or (tick.audio == tick.face and tick.opacity > 0) for tick in ticks)
    assert all(tick.speech is not None for tick in ticks if tick.face is not None)
    assert {b.position - a.position for a, b in pairwise(ticks)} <= {-1, 0, 1}, "the body never jumps"
    cuts = {cut + later for cut in run.cut_at.values() for later in (0, 1)}
    for before, after in pairwise(ticks):
        assert after.tick in cuts or abs(after.opacity - before.opacity) <= 1 / (fade + 1) + 1e-9, f"tick {after.tick}"


def test_the_drawn_runs_hold_waits_late_ends_and_interrupts_in_every_state() -> None:
    runs = [played(seed, fade=2) for seed in range(60)]
    interrupted_in = Counter(run.ticks[cut - 1].state for run in runs for cut in set(run.cut_at.values()))
    assert set(interrupted_in) == set(MixerState)
    held_at_the_end = [
        tick
        for run in runs
        for tick in run.ticks
        if tick.state is MixerState.FADING_OUT and tick.audio is None and tick.speech not in run.cut_at
    ]
    assert len(held_at_the_end) > 10
    assert sum(tick.state is MixerState.WAITING for run in runs for tick in run.ticks) > 1000
