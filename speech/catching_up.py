"""A microphone's speech that fell behind catches up in its pauses: quiet frames are left out."""

from __future__ import annotations

from collections import deque

from speech.pauses import MARGIN_FRAMES, is_quiet
from speech.timeline import SpeechTimeline

# Among them are some seconds' worst: a chunk that usually comes early is no reason to hurry, if another one doesn't.
_REMEMBERED_CHUNKS = 16
# Frames that are to wait when the next ones come: the one that is shown now, and what chunks of other speeches, made
# before a chunk of this one or beside it, may cost. A speech that nothing held up begins with fewer.
_SPARE_FRAMES = 5


class CatchingUp:
    """Says how many frames to leave out; a word is never shortened, and neither is a pause's beginning or end.

    A speech is behind where more of it has arrived than is generated in time, and where what is generated waits to be
    played: a speech that began late would stay so late for ever, however fast the rest of it is generated.
    """

    def __init__(self, timeline: SpeechTimeline, backlog_frames: int | None) -> None:
        """`backlog_frames` may wait to be generated; None leaves nothing out."""
        self._timeline = timeline
        self._backlog = backlog_frames
        self._unplayed: deque[int] = deque(maxlen=_REMEMBERED_CHUNKS)

    @property
    def leaves_out(self) -> bool:
        """Whether anything may be left out at all."""
        return self._backlog is not None

    def written(self, unplayed: int) -> None:
        """Another chunk is handed over, while so many frames before it were still to be played."""
        self._unplayed.append(unplayed)

    async def left_out(self, first: int) -> int:
        """The number of frames from `first` on that are quiet and more than may wait."""
        if self._backlog is None:
            return 0
        count, too_early = 0, self._too_early
        while True:
            unmade = self._timeline.available - (first + count)
            # Where only the pause's length is in question, its end must have been heard.
            is_behind = unmade > self._backlog or (count < too_early and unmade > MARGIN_FRAMES)
            if not is_behind or not await is_quiet(self._timeline, first + count):
                break
            count += 1
        if count:
            self._unplayed = deque((frames - count for frames in self._unplayed), _REMEMBERED_CHUNKS)
        return count

    @property
    def _too_early(self) -> int:
        """Frames by which each of the last chunks came earlier than it had to."""
        if len(self._unplayed) < _REMEMBERED_CHUNKS:
            return 0
        return max(0, min(self._unplayed) - _SPARE_FRAMES)
