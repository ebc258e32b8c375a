"""A microphone's speech that fell behind catches up in its pauses: quiet frames are left out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from latentsync.contract import CONTRACT
from speech.pauses import MARGIN_FRAMES, NoiseFloor, is_quiet
from speech.request import FaceChunk, SpeechRequest
from speech.timeline import SpeechTimeline

# Three minutes of the usual chunks. What made the speech late once in them, with the chunks about it, is no reason to
# stay late: at most about one frame of a thousand is late so.
_REMEMBERED_CHUNKS = 576
_ABOUT_CHUNKS = 8
# Among these is the worst of some seconds, and none is forgiven: it must be known first how the others come.
_WORST_OF_CHUNKS = 16
# Frames that are to wait when the next ones come: the one that is shown now, and what chunks of other speeches, made
# before a chunk of this one or beside it, may cost. A speech that nothing held up begins with fewer.
_SPARE_FRAMES = 5
# Once the worst of minutes is known, it is enough that it would be in time, and that the usual chunk finds so many: the
# one that is shown now, and two for the 60 ms that the rule for the start leaves. So a speech that began late comes
# back to what one begins with that nothing held up. Its last chunks come up to two frames later than the usual one.
_USUAL_SPARE_FRAMES = 3
# Looks at what has arrived, one with each frame: sound that comes in bursts is in time at their ends only.
_REMEMBERED_LOOKS = 2 * CONTRACT.frames_per_second


class CatchingUp:
    """Says how many frames to leave out; a word is never shortened, and neither is a pause's beginning or end.

    A speech is behind where more of it has arrived than is generated in time, where it has waited for a late frame
    since it began, and where what is generated waits to be played: a speech that began late, or was held up, would stay
    so late for ever, however fast the rest of it is generated.
    """

    def __init__(self, timeline: SpeechTimeline, request: SpeechRequest, clock: Callable[[], float]) -> None:
        """Nothing is left out where the request's `catch_up_frames` is None."""
        self._timeline = timeline
        self._backlog = request.catch_up_frames
        self._first = request.first_frame
        self._source = SourceDelay(clock)
        self._noise = NoiseFloor(timeline)
        self._left_out = 0
        self._waited = 0
        # For each of the last chunks the delay, in frames since the beginning, that it would just have been late with.
        self._late_at: deque[int] = deque(maxlen=_REMEMBERED_CHUNKS)
        self._minutes = WorstOfMinutes()

    @property
    def leaves_out(self) -> bool:
        """Whether anything may be left out at all."""
        return self._backlog is not None

    def written(self, chunk: FaceChunk, unplayed: int, waited: int) -> None:
        """A chunk is handed over, while `unplayed` frames before it were still to be played.

        The speech has waited for `waited` frames since it began.
        """
        if chunk.first_frame == 0:
            return  # nothing was waited for
        left_out = chunk.timeline_frame - chunk.first_frame - self._first
        if self._late_at and waited > self._waited:
            self._late_at[-1] += waited - self._waited  # that was the chunk that was waited for
            self._minutes.was_late()
        self._waited = waited
        self._late_at.append(waited - left_out - unplayed)
        self._minutes.add(self._late_at[-1])

    async def left_out(self, first: int) -> int:
        """The number of frames from `first` on that are quiet and more than may wait."""
        if self._backlog is None:
            return 0
        self._source.look(self._timeline.available)
        count, too_late = 0, self._too_late
        quiet_rms: float | None = None
        while True:
            unmade = self._timeline.available - (first + count)
            # Where only the pause's length is in question, its end must have been heard.
            is_behind = unmade > self._backlog or (count < too_late and unmade > MARGIN_FRAMES)
            if not is_behind:
                break
            if quiet_rms is None:
                quiet_rms = await self._noise.quiet_rms()
            if not await is_quiet(self._timeline, first + count, quiet_rms):
                break
            count += 1
        self._left_out += count
        return count

    @property
    def _too_late(self) -> int:
        """Frames by which the speech is later than it has to be."""
        late_at = list(self._late_at)
        if len(late_at) < _WORST_OF_CHUNKS:
            return 0
        delay, of_late = self._waited - self._left_out, max(late_at[-_WORST_OF_CHUNKS:])
        # What it began with was sufficient, unless it wasn't again since; a source that has paused comes later itself.
        worst = late_at.index(max(late_at))
        others = [*late_at[: max(0, worst - _ABOUT_CHUNKS)], *late_at[worst + _ABOUT_CHUNKS + 1 :], of_late]
        enough = max(self._source.frames, max(others) + 1)
        spared = of_late + _SPARE_FRAMES
        if (of_minutes := self._minutes.worst) is not None:
            usual = sorted(late_at)[len(late_at) // 2]
            spared = min(spared, max(of_minutes + 1, usual + _USUAL_SPARE_FRAMES))
        return max(0, delay - min(enough, spared))


class WorstOfMinutes:
    """The worst of so many chunks in time, one after another, that a worse one is rare.

    Where one comes nevertheless, and the speech is late, twice as many are needed from then on. So the two frames that
    it risks by trusting them are risked once in three minutes, once in the six that follow, and so on: it doesn't swing
    between catching up and being late.
    """

    def __init__(self) -> None:
        self._needed = _REMEMBERED_CHUNKS
        self._chunks = 0
        # For each delay that a chunk would just have been late with: the last such chunk.
        self._last_at: dict[int, int] = {}

    def add(self, late_at: int) -> None:
        """Another chunk would just have been late with this delay, in frames since the beginning."""
        self._chunks += 1
        self._last_at[late_at] = self._chunks

    def was_late(self) -> None:
        """The chunk that was added last was waited for: it begins anew."""
        if self.worst is not None:
            self._needed *= 2
        self._chunks = 0
        self._last_at.clear()

    @property
    def worst(self) -> int | None:
        """The greatest of these delays; None while too few chunks have come in time."""
        first = self._chunks - self._needed
        return None if first < 0 else max(late_at for late_at, last in self._last_at.items() if last > first)


class SourceDelay:
    """How much later the sound of a speech arrives than it did at first, of the best of some seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun_s: list[float] = []
        self._latest_s: deque[float] = deque(maxlen=_REMEMBERED_LOOKS)

    def look(self, arrived: int) -> None:
        """So many frames have arrived by now."""
        behind_s = self._clock() - arrived / CONTRACT.frames_per_second
        if len(self._begun_s) < _REMEMBERED_LOOKS:
            self._begun_s.append(behind_s)
        self._latest_s.append(behind_s)

    @property
    def frames(self) -> int:
        """The same in frames, 0 at first; negative where it arrives earlier."""
        if not self._latest_s:
            return 0
        return round((min(self._latest_s) - min(self._begun_s)) * CONTRACT.frames_per_second)
