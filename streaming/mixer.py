"""Decides, frame by frame, what a channel shows: idle, speech, or a transition between them. No clock, no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streaming.events import (
    EndReason,
    MixerEvent,
    MixerState,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    SpeechWaiting,
)
from streaming.fades import FaceFade
from streaming.speech import Speech, nearest_equivalent, next_equivalent
from streaming.walk import IdleWalk

NearestEqual = Callable[[int, int], int]
"""The position nearest to the second one at which the avatar looks and goes on as at the first."""


@dataclass(frozen=True)
class Tick:
    """What one frame of the stream shows and plays.

    Frame `face` of speech `speech` is pasted with `opacity` onto the avatar at `position`; None shows plain idle.
    `audio` is the frame of the same speech whose samples play, falling to silence within the frame where it
    `falls_silent`; None is silence. `audio` never comes without its own face; a face that is held comes without audio.
    """

    tick: int
    state: MixerState
    position: int
    speech: str | None = None
    face: int | None = None
    opacity: float = 0.0
    audio: int | None = None
    falls_silent: bool = False
    events: tuple[MixerEvent, ...] = ()


@dataclass
class MixerCounters:
    """Counts since the start; a frame is repeated when the body stands still because it changes its direction.

    A speech that waits between two sentences, where it may pause, isn't late.
    """

    late_waits: int = 0
    late_frames: int = 0
    repeated_frames: int = 0


class Mixer:
    """The state machine of one channel.

    Speeches are opened, become available frame by frame, are ended or cancelled; `tick` gives one frame after another.
    Idle walks forwards along the avatar's path; the path repeats after `period` positions, which lets idle take the
    shorter way to a speech whose predecessor was cancelled.

    The face fades in and out over `fade_frames`. A speech that ends before it could fade out holds its last face while
    that fades; so does one whose next frame is late, until it goes on where it was. An interrupted speech has one frame
    to fade. The sound has no fades but this: whoever wants silence behind it while the face fades out writes silence.
    """

    def __init__(
        self,
        fade_frames: int,
        linger_frames: int,
        period: int,
        position: int = 0,
    ) -> None:
        self.counters = MixerCounters()
        self.state = MixerState.IDLE
        self._fade = FaceFade(fade_frames)
        self._linger_frames = linger_frames
        self._period = period
        self._nearest_equal: NearestEqual | None = None
        self._walk = IdleWalk(position)
        self._queue: deque[Speech] = deque()
        self._current: Speech | None = None
        self._waited = 0
        self._face: int | None = None
        self._end_reason: EndReason | None = None  # of the current speech, while its face fades out
        self._cut = False  # it has one frame for that
        self._tick = 0
        self._events: list[MixerEvent] = []

    def keep_to_the_path(self, nearest_equal: NearestEqual) -> None:
        """The path may show motions too from now on, so that it repeats in places only.

        Then a waiting speech stays where it is, since its faces are made for that very part of the path, and idle takes
        the shorter way by going on from the position that `nearest_equal` names.
        """
        self._nearest_equal = nearest_equal

    @property
    def position(self) -> int:
        """Position that the latest tick showed."""
        return self._walk.position

    @property
    def playing(self) -> str | None:
        """Id of the speech that has begun and is not over."""
        return self._current.id if self._current else None

    @property
    def speeches(self) -> list[str]:
        """Ids of the playing and the waiting speeches, in their order."""
        return [s.id for s in self._all()]

    def open(self, speech: str, expected_frames: int | None, lead_frames: int, start_after: int) -> int:
        """Queues a speech and returns the position of its first frame; moves one that has no frame yet.

        `expected_frames` is None for a speech whose end isn't known; none can be opened behind it before its end is.
        Raises ValueError for that, for a count below one, and when the speech has frames already.
        """
        if expected_frames is not None and expected_frames < 1:
            raise ValueError(f"a speech needs at least one frame, got {expected_frames}")
        speeches = self._all()
        known = next((s for s in speeches if s.id == speech), None)
        if known is not None and (known.available or known.ended):
            raise ValueError(f"speech {speech!r} has frames already: it can't be opened again")
        before = speeches if known is None else speeches[: speeches.index(known)]
        start = self._walk.position + 1 + max(0, lead_frames)
        if before and not (before[-1] is self._current and self._end_reason):
            if before[-1].end is None:
                raise ValueError(f"the end of speech {before[-1].id!r} isn't known: end it before you open {speech!r}")
            start = max(start, before[-1].end)
        if known is None:
            self._queue.append(Speech(speech, start, expected_frames, start_after))
        else:
            known.start, known.frame_count, known.start_after = start, expected_frames, start_after
        return start

    def available(self, speech: str, frames: int, may_pause: bool = False) -> None:
        """Says that the first `frames` frames of a speech have arrived; ignored when it is over.

        A wait for those behind them doesn't count as late where the speech `may_pause` there.
        """
        for s in self._all():
            if s.id == speech:
                s.arrived(frames, may_pause)

    def end(self, speech: str, frames: int) -> None:
        """Says how many frames a speech has after all, at most those expected; without any it is over at once."""
        for s in self._all():
            if s.id == speech:
                s.end_at(frames)
                if s is self._current and s.over and self._end_reason is None:
                    self._end_reason = EndReason.COMPLETED
                elif s is not self._current and s.frame_count == 0:
                    self._queue.remove(s)
                    self._end(s, EndReason.COMPLETED)

    def cancel(self, speech: str, played: int | None = None, is_idle: bool = False) -> int:
        """Ends a speech early: a waiting one at once, the playing one with one frame of fade to idle.

        `played` says that no more than so many of its frames went out, and `is_idle` that the frame before the next
        tick's shows idle already, so that nothing is left to fade. Returns how many of its frames are heard, counted
        from the first one; 0 for a speech that isn't known.
        """
        heard = 0
        current = self._current
        if current is not None and current.id == speech:
            if played is not None:
                current.played = min(current.played, played)
                self._end_reason = EndReason.INTERRUPTED
            self._end_reason = self._end_reason or EndReason.INTERRUPTED
            self._cut = True
            if self._fade.is_instant or is_idle:
                self._fade.reset()
            heard = current.played + self._sounds_on(current)
        for s in [s for s in self._queue if s.id == speech]:
            self._queue.remove(s)
            self._end(s, EndReason.INTERRUPTED)
        self._rebase()
        return heard

    def tick(self) -> Tick:
        """The next frame of the stream."""
        before = self._walk.position
        if self._end_reason is not None and (not self._fade.opacity or (self._fade.is_gone and not self._cut)):
            self._leave_current()
        if self._current is None:
            self._start_next()
        shown = self._idle_frame() if self._current is None else self._current_frame(self._current)
        self.state, self._face = shown.state, shown.face
        self.counters.repeated_frames += self._walk.position == before
        self._tick += 1
        return shown

    def _start_next(self) -> None:
        if self._queue and self._queue[0].may_play() and self._walk.arrives(self._queue[0].start):
            self._current = self._queue.popleft()
            self._events.append(SpeechStarted(self._current.id, self._tick, self._current.start))

    def _idle_frame(self) -> Tick:
        if not self._queue:
            self._walk.walk()
        else:
            if self._nearest_equal is not None:
                position = self._nearest_equal(self._walk.position, self._queue[0].start)
                if position != self._walk.position:
                    self._walk.relabel(position)
            self._head_for(self._queue[0], self._queue[0].start)
        return Tick(self._tick, MixerState.IDLE, self._walk.position, events=self._take_events())

    def _head_for(self, speech: Speech, position: int) -> None:
        if speech.may_play():
            self._walk.approach(position)
        else:
            self._walk.linger(position, self._linger_frames)

    def _current_frame(self, speech: Speech) -> Tick:
        if self._end_reason is not None:
            return self._closing_frame(speech)
        if not self._waited:
            if speech.available > speech.played:
                return self._speech_frame(speech)
            self.counters.late_waits += not speech.may_pause
            self._events.append(SpeechWaiting(speech.id, speech.played))
        elif speech.may_play() and self._walk.arrives(speech.next_position):
            self._events.append(SpeechResumed(speech.id, speech.played, self._waited))
            self._waited = 0
            return self._speech_frame(speech)
        return self._waiting_frame(speech)

    def _speech_frame(self, speech: Speech) -> Tick:
        frame, remaining = speech.played, speech.remaining
        self._walk.place(speech.next_position)
        speech.played += 1
        opacity = self._fade.speak(remaining)
        state = MixerState.SPEAKING if self._fade.is_whole else MixerState.FADING_IN
        if not self._fade.leaves_time(remaining):
            state = MixerState.FADING_OUT
        if speech.over:
            self._end_reason = EndReason.COMPLETED
            if self._fade.is_gone:
                self._leave_current()
        return Tick(
            self._tick, state, self._walk.position, speech.id, frame, opacity, frame, events=self._take_events()
        )  # fmt: skip

    def _waiting_frame(self, speech: Speech) -> Tick:
        """The held face fades out over idle motion, in silence, while the next frame is missing."""
        self._waited += 1
        self.counters.late_frames += not speech.may_pause
        self._head_for(speech, speech.next_position)
        return self._held(speech, MixerState.WAITING, self._fade.fall())

    def _closing_frame(self, speech: Speech) -> Tick:
        """The face fades out: a held one, or the next frame of a speech that was interrupted."""
        if not self._cut:
            self._walk.walk()
            return self._held(speech, MixerState.FADING_OUT, self._fade.fall())
        sounds_on, opacity = self._sounds_on(speech), self._fade.cut()
        if not sounds_on:
            self._walk.walk()
            return self._held(speech, MixerState.FADING_OUT, opacity)
        self._walk.place(speech.next_position)
        frame = speech.played
        speech.played += 1
        return Tick(
            self._tick, MixerState.FADING_OUT, self._walk.position, speech.id, frame, opacity, frame, True,
            self._take_events(),
        )  # fmt: skip

    def _held(self, speech: Speech, state: MixerState, opacity: float) -> Tick:
        shown, face = (speech.id, self._face) if opacity else (None, None)
        return Tick(self._tick, state, self._walk.position, shown, face, opacity, events=self._take_events())

    def _sounds_on(self, speech: Speech) -> bool:
        """Whether the fade of an interrupt has the speech's next frame to show and play."""
        return bool(self._fade.opacity) and not self._waited and speech.available > speech.played

    def _leave_current(self) -> None:
        assert self._current is not None and self._end_reason is not None
        self._end(self._current, self._end_reason)
        self._current, self._end_reason, self._cut, self._waited = None, None, False, 0
        self._fade.reset()

    def _end(self, speech: Speech, reason: EndReason) -> None:
        self._events.append(SpeechEnded(speech.id, speech.played, reason, self._tick))

    def _rebase(self) -> None:
        """Moves the waiting speeches to the nearest equivalent positions of the avatar's loop, in their order."""
        if self._nearest_equal is not None or (self._current is not None and self._end_reason is None):
            return
        earliest = self._walk.position + 1 + (self._current is not None)
        for i, s in enumerate(self._queue):
            near = nearest_equivalent if i == 0 else next_equivalent
            s.start = near(s.start, earliest, self._period)
            earliest = s.end if s.end is not None else s.start  # none is behind one whose end isn't known

    def _all(self) -> list[Speech]:
        return ([self._current] if self._current is not None else []) + list(self._queue)

    def _take_events(self) -> tuple[MixerEvent, ...]:
        events, self._events = tuple(self._events), []
        return events
