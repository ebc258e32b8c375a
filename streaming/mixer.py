"""Decides, frame by frame, what a channel shows: idle, speech, or a transition between them. No clock, no I/O."""

from __future__ import annotations

from collections import deque
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
from streaming.fades import equal_power_gain, face_opacity
from streaming.speech import Speech, nearest_equivalent, next_equivalent
from streaming.walk import IdleWalk

_INTERRUPT_FRAMES = 1
"""Longest fade of an interrupted speech. A viewer should see idle within 300 ms of the request, and half of that is the
latency of encoder and RTMP server (ffmpeg's muxers hold a picture until the next sound packet)."""


@dataclass(frozen=True)
class Tick:
    """What one frame of the stream shows and plays.

    Frame `face` of speech `speech` is pasted with `opacity` onto the avatar at `position`; None shows plain idle.
    `audio` is the frame of the same speech whose samples play, its gain going from `gain_from` to `gain_to` over the
    frame; None is silence. `audio` never comes without its own face; a face that is held comes without audio.
    """

    tick: int
    state: MixerState
    position: int
    speech: str | None = None
    face: int | None = None
    opacity: float = 0.0
    audio: int | None = None
    gain_from: float = 0.0
    gain_to: float = 0.0
    events: tuple[MixerEvent, ...] = ()


@dataclass
class MixerCounters:
    """Counts since the start; a frame is repeated when the body stands still because it changes its direction."""

    late_waits: int = 0
    late_frames: int = 0
    repeated_frames: int = 0


class Mixer:
    """The state machine of one channel.

    Speeches are opened, become available frame by frame, are ended or cancelled; `tick` gives one frame after another.
    Idle walks forwards along the avatar's path; the path repeats after `period` positions, which lets idle take the
    shorter way to a speech whose predecessor was cancelled.
    """

    def __init__(self, fade_frames: int, linger_frames: int, period: int, position: int = 0) -> None:
        self.counters = MixerCounters()
        self.state = MixerState.IDLE
        self._fade_frames = fade_frames
        self._linger_frames = linger_frames
        self._period = period
        self._walk = IdleWalk(position)
        self._queue: deque[Speech] = deque()
        self._current: Speech | None = None
        self._waited = 0
        self._opacity = 0.0
        self._gain = 0.0
        self._face: int | None = None
        self._closing: list[tuple[float, float]] = []  # (opacity, gain) of the frames left of an interrupt's fade
        self._end_reason: EndReason | None = None
        self._tick = 0
        self._events: list[MixerEvent] = []

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

    def open(self, speech: str, frame_count: int, lead_frames: int, start_after: int) -> int:
        """Queues a speech and returns the position of its first frame; moves one that has no frame yet.

        Raises ValueError for a count below one, or when the speech has frames already.
        """
        if frame_count < 1:
            raise ValueError(f"a speech needs at least one frame, got {frame_count}")
        speeches = self._all()
        known = next((s for s in speeches if s.id == speech), None)
        if known is not None and (known.available or known.ended):
            raise ValueError(f"speech {speech!r} has frames already: it can't be opened again")
        before = speeches if known is None else speeches[: speeches.index(known)]
        start = self._walk.position + 1 + max(0, lead_frames)
        if before and not (before[-1] is self._current and self._end_reason):
            start = max(start, before[-1].end)
        if known is None:
            self._queue.append(Speech(speech, start, frame_count, start_after))
        else:
            known.start, known.frame_count, known.start_after = start, frame_count, start_after
        return start

    def available(self, speech: str, frames: int) -> None:
        """Says that the first `frames` frames of a speech have arrived; ignored when it is over."""
        for s in self._all():
            if s.id == speech:
                s.available = max(s.available, min(frames, s.frame_count))

    def end(self, speech: str, frame_count: int) -> None:
        """Says how many frames a speech has after all, at most those expected; without any it is over at once."""
        for s in self._all():
            if s.id == speech:
                s.frame_count = min(frame_count, s.frame_count)
                s.ended = True
                if s is self._current and s.over and self._end_reason is None:
                    self._begin_closing(EndReason.COMPLETED)
                elif s is not self._current and s.frame_count == 0:
                    self._queue.remove(s)
                    self._end(s, EndReason.COMPLETED)

    def cancel(self, speech: str) -> int:
        """Ends a speech early: a waiting one at once, the playing one with a short fade to idle.

        Returns how many of its frames are heard, counted from the first one; 0 for a speech that isn't known.
        """
        heard = 0
        current = self._current
        if current is not None and current.id == speech:
            if self._end_reason is None:
                self._begin_closing(EndReason.INTERRUPTED)
            heard = current.played + (len(self._closing) if self._sounds_on(current) else 0)
        for s in [s for s in self._queue if s.id == speech]:
            self._queue.remove(s)
            self._end(s, EndReason.INTERRUPTED)
        self._rebase()
        return heard

    def interrupt(self) -> dict[str, int]:
        """Cancels every speech; how many frames of each are heard."""
        return {speech: self.cancel(speech) for speech in self.speeches}

    def tick(self) -> Tick:
        """The next frame of the stream."""
        before = self._walk.position
        if self._end_reason is not None and not self._closing:
            self._leave_current(self._end_reason)
        if self._current is None:
            self._start_next()
        shown = self._idle_frame() if self._current is None else self._current_frame(self._current)
        self.state, self._face, self._opacity, self._gain = shown.state, shown.face, shown.opacity, shown.gain_to
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
        elif self._queue[0].may_play():
            self._walk.approach(self._queue[0].start)
        else:
            self._walk.linger(self._queue[0].start, self._linger_frames)
        return Tick(self._tick, MixerState.IDLE, self._walk.position, events=self._take_events())

    def _current_frame(self, speech: Speech) -> Tick:
        if self._end_reason is not None:
            return self._closing_frame(speech)
        if self._waited:
            return self._waiting_frame(speech)
        if speech.available > speech.played:
            return self._speech_frame(speech)
        self.counters.late_waits += 1
        self._events.append(SpeechWaiting(speech.id, speech.played))
        return self._waiting_frame(speech)

    def _speech_frame(self, speech: Speech) -> Tick:
        frame = speech.played
        fade = self._fade_frames
        state = MixerState.SPEAKING
        if frame >= speech.frame_count - fade:
            state = MixerState.FADING_OUT
        elif frame < fade:
            state = MixerState.FADING_IN
        self._walk.place(speech.next_position)
        speech.played += 1
        gain_from, gain_to = equal_power_gain(frame, speech.frame_count, fade)
        opacity = face_opacity(frame, speech.frame_count, fade)
        if speech.over:
            self._leave_current(EndReason.COMPLETED)
        return Tick(
            self._tick, state, self._walk.position, speech.id, frame, opacity, frame, gain_from, gain_to,
            self._take_events(),
        )  # fmt: skip

    def _waiting_frame(self, speech: Speech) -> Tick:
        """Fades the held face out while the next frame is missing, and in again before the sound resumes."""
        step = 1 / (self._fade_frames + 1)
        if not speech.may_play():
            self._walk.linger(speech.next_position, self._linger_frames)
            return self._held_frame(speech, speech.played - 1, max(0.0, self._opacity - step))
        full = self._target_opacity(speech)
        frames_to_full = round((full - self._opacity) / step)
        if frames_to_full <= 1 and self._walk.arrives(speech.next_position):
            self._events.append(SpeechResumed(speech.id, speech.played, self._waited))
            self._waited = 0
            return self._speech_frame(speech)
        if self._walk.arrival_frames(speech.next_position) >= frames_to_full - 1:
            self._walk.approach(speech.next_position)
        else:
            self._walk.linger(speech.next_position, self._linger_frames)
        return self._held_frame(speech, speech.played, min(full, self._opacity + step))

    def _target_opacity(self, speech: Speech) -> float:
        return face_opacity(speech.played, speech.frame_count, self._fade_frames)

    def _held_frame(self, speech: Speech, face: int, opacity: float) -> Tick:
        self._waited += 1
        self.counters.late_frames += 1
        return Tick(
            self._tick, MixerState.WAITING, self._walk.position, speech.id if opacity else None,
            face if opacity else None, opacity, events=self._take_events(),
        )  # fmt: skip

    def _closing_frame(self, speech: Speech) -> Tick:
        """One frame of an interrupt's fade: the speech continues while it has frames, else its face is held."""
        opacity, gain_to = self._closing.pop(0)
        if self._sounds_on(speech):
            self._walk.place(speech.next_position)
            face: int | None = speech.played
            audio = face
            speech.played += 1
        else:
            self._walk.walk()
            face, audio = self._face, None
        return Tick(
            self._tick, MixerState.FADING_OUT, self._walk.position, speech.id, face, opacity, audio,
            self._gain if audio is not None else 0.0, gain_to if audio is not None else 0.0, self._take_events(),
        )  # fmt: skip

    def _sounds_on(self, speech: Speech) -> bool:
        """Whether the fade of an interrupt has the speech's next frame to show and play."""
        return not self._waited and speech.available > speech.played

    def _begin_closing(self, reason: EndReason) -> None:
        self._end_reason = reason
        n = min(_INTERRUPT_FRAMES, self._fade_frames)
        fading = range(1, n + 1) if self._opacity else ()
        self._closing = [(self._opacity * (1 - i / (n + 1)), self._gain * (1 - i / n)) for i in fading]

    def _leave_current(self, reason: EndReason) -> None:
        assert self._current is not None
        speech, self._current = self._current, None
        self._end_reason = None
        self._waited = 0
        self._end(speech, reason)

    def _end(self, speech: Speech, reason: EndReason) -> None:
        self._events.append(SpeechEnded(speech.id, speech.played, reason, self._tick))

    def _rebase(self) -> None:
        """Moves the waiting speeches to the nearest equivalent positions of the avatar's loop, in their order."""
        if self._current is not None and self._end_reason is None:
            return
        earliest = self._walk.position + 1 + len(self._closing)
        for i, s in enumerate(self._queue):
            near = nearest_equivalent if i == 0 else next_equivalent
            s.start = near(s.start, earliest, self._period)
            earliest = s.end

    def _all(self) -> list[Speech]:
        return ([self._current] if self._current is not None else []) + list(self._queue)

    def _take_events(self) -> tuple[MixerEvent, ...]:
        events, self._events = tuple(self._events), []
        return events
