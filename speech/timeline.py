"""A speech as its frames follow one another: silence, what its log holds, and silence once the log has ended."""

from __future__ import annotations

import numpy as np

from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES
from speech.log import SoundFrames, SpeechLog


class SpeechTimeline:
    """Frames that may still be arriving. The silence lets Whisper hear a beginning, and the mouth open and close."""

    def __init__(self, log: SpeechLog, silent_before: int, silent_after: int) -> None:
        self._log = log
        self._before = silent_before
        self._after = silent_after
        self._kept_first = 0
        self._kept: SoundFrames | None = None

    @property
    def available(self) -> int:
        """Frames that can be read now."""
        return self._before + self._log.frames + (0 if self._log.end is None else self._after)

    @property
    def at_pause(self) -> bool:
        """Whether what is available ends where the speech may pause: nothing that follows belongs to it."""
        return self._log.end is None and self._log.at_pause

    def may_pause_at(self, frame: int) -> bool:
        """Whether the speech may pause before this frame: a wait there is no underrun."""
        return self._log.may_pause_at(frame - self._before)

    @property
    def total(self) -> int | None:
        """Frames of the whole speech; None while its end is unknown."""
        return None if self._log.end is None else self.available

    def cues(self, first: int, count: int) -> list[tuple[int, str]]:
        """Motions that are to begin with one of the frames `first` … `first` + `count` - 1: the frame and the name."""
        begin = first - self._before
        return [(frame + self._before, name) for frame, name in self._log.cues if begin <= frame < begin + count]

    async def wait_beyond(self, frames: int) -> None:
        """Wait until more than `frames` frames are available, or the end is known."""
        await self._log.wait_beyond(frames - self._before)

    async def read(self, first: int, count: int) -> SoundFrames:
        """Frames `first` … `first` + `count` - 1, of which all must be available; raises OSError.

        The last read of a chunk's length or more is kept: what a window of Whisper's needed is not read again for its
        chunks, also where the disk has failed since.
        """
        kept, begin = self._kept, first - self._kept_first
        if kept is not None and begin >= 0 and begin + count <= len(kept):
            return SoundFrames(kept.heard[begin : begin + count], kept.sound[begin : begin + count])
        found = await self._read(first, count)
        if kept is None or count >= CONTRACT.chunk_frames:
            self._kept_first, self._kept = first, found
        return found

    async def _read(self, first: int, count: int) -> SoundFrames:
        heard = np.zeros((count, CONTRACT.samples_per_frame), np.int16)
        sound = np.zeros((count, SOUND_FRAME_SAMPLES), np.int16)
        skipped = max(0, self._before - first)
        if skipped < count:
            found = await self._log.read(first + skipped - self._before, count - skipped)
            heard[skipped : skipped + len(found)] = found.heard
            sound[skipped : skipped + len(found)] = found.sound
        return SoundFrames(heard, sound)
