"""A microphone's speech that fell behind catches up in its pauses: quiet frames are left out."""

from __future__ import annotations

from speech.pauses import is_quiet
from speech.timeline import SpeechTimeline


class CatchingUp:
    """Says how many frames to leave out; a word is never shortened, and neither is a pause's beginning or end."""

    def __init__(self, timeline: SpeechTimeline, backlog_frames: int | None) -> None:
        """`backlog_frames` may wait to be generated; None leaves nothing out."""
        self._timeline = timeline
        self._backlog = backlog_frames

    async def left_out(self, first: int) -> int:
        """The number of frames from `first` on that are quiet and more than may wait."""
        if self._backlog is None:
            return 0
        count = 0
        while self._timeline.available - (first + count) > self._backlog and await is_quiet(
            self._timeline, first + count
        ):
            count += 1
        return count
