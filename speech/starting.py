"""The start of a speech, and of what follows a pause: held until the rule says that it plays without an underrun."""

from __future__ import annotations

from collections.abc import Callable

from speech.generation import SpeechGeneration
from speech.start import Progress, spare_s, wait_before_start_s
from speech.urgency import SpeechSlots

# Chunks of one batch arrive together, and all of their channels then request more.
_SETTLE_S = 0.02


class Starting:
    """Decides after each chunk, and at the time that it named then, whether a speech may start."""

    def __init__(
        self,
        generation: SpeechGeneration,
        slots: SpeechSlots,
        due: Callable[[int], float],
        expected_rate: float | None,
        together: int,
        clock: Callable[[], float],
        began: Callable[[float], None],
        whisper_s: float | None = None,
    ) -> None:
        """`due` gives the time at which a frame is shown at the earliest; `together` chunks are requested at once.

        `expected_rate`, of an earlier speech, is used during the first chunks: their time is mostly the pipeline's
        latency and says little about its rate. `whisper_s`, what a window of earlier ones took, is given on GPUs, where
        only a speech's first window takes longer. `began` is called once, at the first start, with the time from which
        on the speech could be shown if its place on the stream were reached.
        """
        self.started = False
        self._began: Callable[[float], None] | None = began
        self._ready_at = clock()  # could the speech start, if its place on the stream were reached
        self._first = 0
        self._generation = generation
        self._slots = slots
        self._due = due
        self._expected_rate = expected_rate
        self._together = together
        self._clock = clock
        self._whisper_s = whisper_s
        self._settles = self._settled = False
        self._at: float | None = None

    def begin_again(self) -> None:
        """What follows a pause is held as a speech is: it is there too late to go on without one."""
        self.started = self._settles = self._settled = False
        self._first = self._generation.given
        self._at = None

    @property
    def remaining_s(self) -> float | None:
        """Seconds until `reached` is to be called; None where only another chunk can change anything."""
        return None if self.started or self._at is None else max(0.0, self._at - self._clock())

    def made(self) -> None:
        """Another chunk is there."""
        if self.started or (self._settles and not self._settled):
            return
        if not self._settles:
            wait_s = self._wait_s()
            if wait_s != 0:
                # The next chunk is waited for, but no longer than this where sound or features come before it: nobody
                # knows when sound comes, and Whisper's time is no matter of the rate.
                is_timed = self._generation.waits_for_sound or self._generation.features_due_s
                self._at = self._clock() + wait_s if wait_s and is_timed else None
                return
            self._at = None
            self._settles = True
            # The rate is sufficient, but chunks of other speeches may be processed before its next one.
            if self._slots.others(self._due(self._generation.given)):
                self._at = self._clock() + _SETTLE_S
                return
            self._settled = True
        self._decide()

    def reached(self) -> None:
        """The time that was named has come."""
        if self._settled or not self._settles:
            self._start()
        else:
            self._settled = True
            self._decide()

    def _decide(self) -> None:
        generation = self._generation
        due = self._due(generation.given)
        together = 1 if generation.next_is_alone else self._together
        next_chunk_s = self._slots.next_chunk_s(due, generation.next_frames, together)
        wait_s = self._wait_s(next_chunk_s or 0.0) or 0.0
        self._at = self._clock() + wait_s
        if wait_s == 0:
            self._start()

    def _start(self) -> None:
        self.started = True
        began, self._began = self._began, None
        if began is not None:
            began(self._ready_at)

    @property
    def _features_s(self) -> float:
        due_s = self._generation.features_due_s
        return due_s if self._whisper_s is None else min(due_s, self._whisper_s)

    def _wait_s(self, next_chunk_s: float = 0.0) -> float | None:
        """Seconds until the speech may be handed over, given its position on the stream; None while unknown."""
        generation = self._generation
        measured = generation.timings.frames_per_s
        rate = (self._expected_rate or measured) if generation.early else (measured or self._expected_rate)
        if rate is None:
            return None
        total = generation.count_to_pause
        progress = Progress(
            buffered=generation.given - self._first,
            remaining=None if total is None else total - generation.given,
            rate=rate,
            next_frames=generation.next_frames,
            next_chunk_s=next_chunk_s,
            features_s=self._features_s,
            arriving_s=generation.sound_due_s if generation.waits_for_sound else None,
            beside_s=self._slots.beside_s(generation.next_frames, generation.whisper_mean_s),
            spare_s=spare_s(self._slots.on_gpu, generation.uneven_s),
            # Without a GPU the shortest time says little about the next.
            chunk_s=self._slots.measured_s(generation.next_frames) if self._slots.on_gpu else None,
        )
        now, wait_s = self._clock(), wait_before_start_s(progress)
        self._ready_at = now + wait_s
        # It is shown when its place is reached, but not before it is handed over: what is held until a moment behind
        # its place is held until that very moment.
        return 0.0 if self._due(self._first) - now >= wait_s else wait_s
