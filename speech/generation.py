"""Generation of one speech: chunks are requested concurrently, a bounded number ahead, and returned in order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable

import numpy as np
from numpy.typing import NDArray

from inference import span
from inference.attempts import Recover, attempt, no_recovery
from latentsync.contract import CONTRACT
from latentsync.scheduler import task_noise
from speech.catching_up import CatchingUp
from speech.chunking import chunk_length
from speech.features import SpeechFeatures
from speech.overlap import MadeChunk, blended
from speech.pacing import RateMeter
from speech.planning import ChunkPlanner, PlannedChunk
from speech.request import (
    FaceChunk,
    GenerationSettings,
    GenerationTimings,
    Slot,
    SpeechModels,
    SpeechRequest,
    SpokenAvatar,
    SpokenPath,
    unlimited_slots,
)
from speech.timeline import SpeechTimeline

__all__ = [
    "FaceChunk",
    "GenerationSettings",
    "GenerationTimings",
    "SpeechGeneration",
    "SpeechModels",
    "SpeechRequest",
    "SpokenAvatar",
    "SpokenPath",
]


_Requested = asyncio.Task[MadeChunk] | Exception | None


class SpeechGeneration:
    """The generation of one speech; iterate `chunks()` once, with `contextlib.aclosing` or to its end.

    Call `aclose()` where `request_features()` was called and `chunks()` may never be iterated.
    """

    def __init__(
        self,
        models: SpeechModels,
        avatar: SpokenAvatar,
        timeline: SpeechTimeline,
        request: SpeechRequest,
        settings: GenerationSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        slot: Slot = unlimited_slots,
        recover: Recover = no_recovery,
        crowded: Callable[[int], bool] = lambda first_frame: False,
        path: SpokenPath | None = None,
        early_s: Callable[[int, float | None], float] = lambda first_frame, frames_per_s: 0.0,
    ) -> None:
        """`slot` is held while a chunk is generated; `recover` repairs what keeps failing.

        `path` is given where the channel shows more than the avatar's own clip.

        `crowded` says whether the chunk that begins with a frame has to wait for other speeches' chunks, and `early_s`
        for how many seconds it shall not be requested yet, at the rate in frames/s that was measured so far.
        """
        self._models = models
        self._timeline = timeline
        self._request = request
        self._settings = settings or GenerationSettings()
        self._clock = clock
        self._slot = slot
        self._recover = recover
        self._early_s = early_s
        self._noise = task_noise(request.seed, avatar.condition.shape[-1])
        self._meter = RateMeter(clock)
        self._began = clock()
        self._first_chunk_s: float | None = None
        self._chunks_s = 0.0
        self._features = SpeechFeatures(models, timeline, request.windows, self._settings.attempts, clock, recover)
        self._catching_up = CatchingUp(timeline, request, clock)
        self._planner = ChunkPlanner(
            avatar, timeline, self._features, request, self._settings.overlap_frames, self._catching_up, crowded, path
        )
        self._given = self._yielded = 0
        self._pending: deque[int] = deque()  # counts of chunks that are planned and not yielded

    @property
    def frame_count(self) -> int | None:
        """Number of frames that are shown of the whole speech; None while its end is unknown."""
        left = self._planner.left
        return None if left is None else self._planner.planned_frames + left

    @property
    def count_to_pause(self) -> int | None:
        """Number of frames that are shown up to where the speech may pause, or ends; None while that is unknown."""
        if self._planner.left is None and self._timeline.at_pause:
            return self._planner.planned_frames + self._timeline.available - self._planner.next
        return self.frame_count

    @property
    def pauses(self) -> bool:
        """Whether everything up to where the speech may pause was yielded, and nothing behind it has arrived."""
        return self._timeline.at_pause and not self._pending and self._planner.next >= self._timeline.available

    @property
    def catching_up(self) -> CatchingUp:
        """What leaves frames out; it is to be told of each chunk that is handed over."""
        return self._catching_up

    @property
    def given(self) -> int:
        """Number of frames that were yielded."""
        return self._given

    @property
    def early(self) -> bool:
        """Whether so little was yielded that the measured rate is mostly the latency of the first chunks."""
        return self._yielded <= 1 + self._settings.chunks_ahead

    @property
    def next_frames(self) -> int:
        """Frames of the next chunk that is yielded; of one that isn't planned yet as many as are ready."""
        if self._pending:
            return self._pending[0]
        return self._planner.ready(self._yielded)[0] or self._planner.lengths.least_count(self._yielded)

    @property
    def next_is_alone(self) -> bool:
        """Whether no chunk of its length is requested with the next one: Triton joins only those of one length."""
        pending = self._pending
        if len(pending) > 1:
            following = pending[1]
        else:
            following = self._planner.ready(self._yielded + 1, behind=0 if pending else self.next_frames)[0]
        return not following or chunk_length(following) != chunk_length(self.next_frames)

    @property
    def waits_for_sound(self) -> bool:
        """Whether the next chunk can't be made yet, since its sound hasn't arrived."""
        return self._timeline.total is None and not self._pending and not self._planner.ready(self._yielded)[0]

    @property
    def features_due_s(self) -> float:
        """Seconds that Whisper takes for the next chunk; 0 where its features are held."""
        covered = self._features.covers(self._planner.next - sum(self._pending), self.next_frames)
        return 0.0 if covered else self.whisper_mean_s

    @property
    def sound_due_s(self) -> float:
        """Seconds until the sound of the next chunk has been spoken."""
        plan = self._planner.lengths
        return self._features.sound_due_s(self._planner.next, plan.least_count(self._yielded) + plan.overlap)

    @property
    def longer_second_s(self) -> float:
        """Seconds by which the second chunk lasts longer than the first, which plays until it is spoken and made."""
        plan = self._planner.lengths
        return max(0, plan.least_count(1) - plan.least_count(0)) / CONTRACT.frames_per_second

    @property
    def timings(self) -> GenerationTimings:
        """The timings until now."""
        return GenerationTimings(
            frames=self._given,
            first_chunk_s=self._first_chunk_s,
            elapsed_s=self._clock() - self._began,
            whisper_s=sum(self._features.whisper_s),
            chunks_s=self._chunks_s,
            frames_per_s=self._meter.frames_per_s,
        )

    @property
    def whisper_mean_s(self) -> float:
        """Mean seconds of a window of Whisper's, 0 before the first."""
        spent = self._features.whisper_s
        return sum(spent) / len(spent) if spent else 0.0

    @property
    def usual_whisper_s(self) -> float | None:
        """The median seconds of its windows of Whisper's but for the first, which is slower; None without any."""
        spent = self._features.whisper_s[1:] or self._features.whisper_s
        return sorted(spent)[len(spent) // 2] if spent else None

    @property
    def uneven_s(self) -> float:
        """By how much sound that the first window waited for came later than what had come before it promised."""
        return self._features.uneven_s

    @property
    def window_joins(self) -> tuple[int, ...]:
        """Frames of the timeline at which a window of Whisper's began anew."""
        return tuple(self._features.joins)

    def request_features(self) -> None:
        """Request the first chunk's features, which don't depend on the speech's position on the stream."""
        plan = self._planner.lengths
        # Not sooner: a window without the sound of the whole chunk would have to be encoded again for it.
        self._features.begin(self._request.first_frame, plan.least_count(0) + plan.overlap)

    async def aclose(self) -> None:
        """Cancel the requests in flight."""
        await self._features.aclose()

    async def chunks(self, first_position: int = 0) -> AsyncGenerator[FaceChunk, None]:
        """The speech's chunks in order, from a position of the idle path; waits for sound that hasn't arrived.

        At most `chunks_ahead` are requested or held ahead of the reader. The others are requested after the first has
        arrived: Triton would put them into one batch with it, and a batch takes as many times longer. Leaving the
        iteration early cancels the requests in flight. Raises `InferenceFailed` or `TritonUnavailable` when a chunk
        could not be generated, OSError when its sound could not be read, and ends there.
        """
        self._began = self._clock()
        ahead: asyncio.Queue[_Requested] = asyncio.Queue()
        places = asyncio.Semaphore(self._settings.chunks_ahead)
        requesting = asyncio.create_task(self._request_all(first_position, ahead, places))
        tasks: set[asyncio.Task[MadeChunk]] = set()
        task: _Requested = None
        before: MadeChunk | None = None
        try:
            while (task := await ahead.get()) is not None:
                if isinstance(task, Exception):
                    raise task
                tasks.add(task)
                made = await task
                tasks.discard(task)
                chunk, before = blended(before, made.chunk), made
                if self._first_chunk_s is None:
                    self._first_chunk_s = self._clock() - self._began
                self._given += self._pending.popleft()
                self._yielded += 1
                yield chunk
                places.release()
        finally:
            requesting.cancel()
            await asyncio.gather(requesting, return_exceptions=True)
            while not ahead.empty():
                if isinstance(task := ahead.get_nowait(), asyncio.Task):
                    tasks.add(task)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.aclose()
            # A failed request holds its error, whose traceback holds this frame, and so the chunks and their reader.
            tasks.clear()
            del requesting, task

    async def _request_all(
        self, first_position: int, ahead: asyncio.Queue[_Requested], places: asyncio.Semaphore
    ) -> None:
        """Put each chunk's request into the queue, and at last None, or the error that ended this."""
        before: tuple[int, asyncio.Task[MadeChunk]] | None = None
        number = 0
        try:
            while True:
                await places.acquire()
                await asyncio.sleep(max(0.0, self._early_s(self._planner.planned_frames, self._meter.frames_per_s)))
                planned = await self._planner.chunk(number, first_position)
                if planned is None:
                    break
                self._pending.append(planned.count)
                task = asyncio.create_task(self._chunk(planned))
                ahead.put_nowait(task)
                if before is None:
                    if self._request.hears_ahead:
                        plan = self._planner.lengths
                        self._features.begin(self._planner.next, plan.least_count(1) + plan.overlap)
                    await asyncio.wait({task})
                elif chunk_length(planned.count) > before[0]:
                    # What follows a longer chunk would join its batch, and delay it while there is little before it.
                    await asyncio.wait({before[1]})
                before = chunk_length(planned.count), task
                number += 1
        except Exception as error:  # noqa: BLE001  # whatever it is, the reader raises it
            ahead.put_nowait(error)
        else:
            ahead.put_nowait(None)

    async def _chunk(self, planned: PlannedChunk) -> MadeChunk:
        first, count, all_frames = planned.first, planned.count, planned.count + planned.shared
        # The last chunk is padded with its last frame, and cut below.
        frames = np.minimum(np.arange(chunk_length(all_frames)), all_frames - 1)
        audio = (await self._features.for_frames(first, first + all_frames - 1))[frames]
        self._meter.started()
        begun, made = self._clock(), 0
        try:
            # Waiting for other channels' chunks counts too: the rate is that at which this channel gets its faces.
            with span.child("chunk", chunk=planned.number, frames=count, steps=self._request.steps):
                async with self._slot(planned.shown, len(frames)):
                    faces = await attempt(
                        lambda: self._faces(planned.condition, audio),
                        f"chunk {planned.number}",
                        self._settings.attempts,
                        self._recover,
                    )
            made = count
        finally:
            self._meter.ended(made)
            self._chunks_s += self._clock() - begun
        may_pause = self._timeline.may_pause_at(first + count)
        chunk = FaceChunk(planned.shown, first, faces[:count], planned.sound, may_pause)
        return MadeChunk(chunk, faces[count:all_frames])

    async def _faces(self, condition: NDArray[np.float16], audio: NDArray[np.float16]) -> NDArray[np.uint8]:
        request = self._request
        return await self._models.faces(self._noise, condition, audio, request.steps, request.guidance)
