"""Which frames the next chunk of a speech has, and the avatar's condition for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latentsync.sound import SOUND_RATE_HZ
from speech.catching_up import CatchingUp
from speech.chunking import ChunkPlan, chunk_length
from speech.features import SpeechFeatures
from speech.request import SpeechRequest, SpokenAvatar, SpokenPath
from speech.timeline import SpeechTimeline

# The sound before what is left out goes over into what follows it within 5 ms: a quiet room has a hum, and no click.
_JOIN_SAMPLES = SOUND_RATE_HZ // 200


@dataclass(frozen=True)
class PlannedChunk:
    """Frames `first` … of the timeline, `count` of them, which are frames `shown` … of what is shown.

    Their sound is int16 [count, 1920], the condition [k, 9, h, w] that of a chunk of k frames. `shared` frames behind
    these are made too, and again by the next chunk.
    """

    number: int
    shown: int
    first: int
    count: int
    shared: int
    sound: NDArray[np.int16]
    condition: NDArray[np.float16]


class ChunkPlanner:
    """Plans the chunks of one speech, one after another."""

    def __init__(
        self,
        avatar: SpokenAvatar,
        timeline: SpeechTimeline,
        features: SpeechFeatures,
        request: SpeechRequest,
        overlap_frames: int,
        catching_up: CatchingUp,
        crowded: Callable[[int], bool],
        path: SpokenPath | None,
    ) -> None:
        """Neighbouring chunks share `overlap_frames`; the others are those of `SpeechGeneration`."""
        self.lengths: ChunkPlan = replace(request.chunks, overlap=overlap_frames)
        self.next = request.first_frame
        """The frame of the timeline that is to be planned next."""
        self.planned_frames = 0
        """How many frames that are shown were planned."""
        self._avatar = avatar
        self._timeline = timeline
        self._features = features
        self._hidden_frames = request.hidden_frames
        self._catching_up = catching_up
        self._crowded = crowded
        self._path = path
        self._cut: int | None = None  # the first frame that was left out since the last chunk
        self._cued = 0  # frames of the timeline whose cues were heeded

    @property
    def left(self) -> int | None:
        """Frames that are shown and not planned yet; None while the end is unknown."""
        total = self._timeline.total
        return None if total is None else max(0, total - self._hidden_frames - self.next)

    def ready(self, number: int, behind: int = 0) -> tuple[int, int]:
        """Frames that chunk `number` may have now, and those behind them that it shares with the one after it.

        `behind` frames of the chunks before it are not planned yet.
        """
        first, left = self.next + behind, self.left
        ready = self._features.ready_to(first) - first
        if left is not None:
            left = max(0, left - behind)
            ready = min(ready, left)
        elif self._timeline.at_pause:
            left = ready  # the rest of a sentence doesn't wait for the next one, to make up a chunk
        lengths = self.lengths
        count = lengths.next_count(number, ready, left, self._crowded(self.planned_frames + behind))
        return count, lengths.overlap if left is None else min(lengths.overlap, left - count)

    async def chunk(self, number: int, first_position: int) -> PlannedChunk | None:
        """The next chunk, once its sound is there; None after the last. Raises OSError where it can't be read."""
        while True:
            left_out = await self._catching_up.left_out(self.next)
            if left_out and self._cut is None:
                self._cut = self.next
            self.next += left_out
            if self.left == 0:
                return None
            count, shared = self.ready(number)
            if count:
                # Read here and not by the chunk: chunks go to Triton in their order.
                sound = await self._sound(count)
                condition = await self._condition(first_position + self.planned_frames, count, count + shared)
                planned = PlannedChunk(number, self.planned_frames, self.next, count, shared, sound, condition)
                self.next += count
                self.planned_frames += count
                return planned
            await self._timeline.wait_beyond(self._timeline.available)

    async def _sound(self, count: int) -> NDArray[np.int16]:
        """The sound of the next frames, which begins as the one that was left out before them."""
        sound, cut = (await self._timeline.read(self.next, count)).sound, self._cut
        if cut is None:
            return sound
        self._cut = None
        before = (await self._timeline.read(cut, 1)).sound[0, :_JOIN_SAMPLES]
        share = np.arange(_JOIN_SAMPLES) / _JOIN_SAMPLES
        joined = sound.copy()
        joined[0, :_JOIN_SAMPLES] = np.round((1 - share) * before + share * sound[0, :_JOIN_SAMPLES])
        return joined

    async def _condition(self, first: int, count: int, all_frames: int) -> NDArray[np.float16]:
        """The condition of a chunk from position `first` on, its last frame repeated to fill it up."""
        positions = [first + min(frame, all_frames - 1) for frame in range(chunk_length(all_frames))]
        if self._path is None:
            rows = [self._avatar.frame_index(position) for position in positions]
            return np.ascontiguousarray(self._avatar.condition[rows])
        end = self.next + count
        for frame, name in self._timeline.cues(self._cued, end - self._cued):
            await self._path.cue(name, first + max(0, frame - self.next))
        self._cued = end
        return await self._path.condition(positions)
