"""One speech from samples to its sink: faces are generated, and held until the speech may start."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference import span
from inference.errors import InferenceError
from speech.audio.frames import FPS, SAMPLES_PER_FRAME, pad_to_frames
from speech.events import FacesMade, FeaturesReady, LengthKnown, Listener
from speech.generation import (
    GenerationSettings,
    SpeechChunk,
    SpeechGeneration,
    SpeechModels,
    SpeechRequest,
    SpokenAvatar,
)
from speech.log import SpeechLog
from speech.urgency import SpeechSlots, UrgentFirst

# The lead of a channel's first speech. Too long is a delay that everyone notices; too short only prolongs the idle
# video.
_FIRST_LEAD_S = 0.2
_LONGEST_LEAD_S = 10.0
# Frames of a generator much slower than real time can't all be held: the speech starts, and stalls on the stream.
_MOST_HELD_S = 30.0
# Chunks of one batch arrive together, and all of their channels then request more.
_SETTLE_S = 0.02


@dataclass
class Pace:
    """Measurements of a channel's earlier speeches: seconds until a speech may start, and the rate in frames/s."""

    lead_s: float = _FIRST_LEAD_S
    frames_per_s: float | None = None

    def learn(self, lead_s: float) -> None:
        """Move halfway to a new measurement, so that one slow speech doesn't delay all later ones."""
        self.lead_s = min((self.lead_s + lead_s) / 2, _LONGEST_LEAD_S)


class RecoveringModels(SpeechModels, Protocol):
    """What speeches need of Triton; `TritonClient` is one."""

    async def recover(self, error: InferenceError) -> bool:
        """Repair the model that raised an error; return whether another attempt makes sense."""
        ...


class SpeechOrder(Protocol):
    """The parameters of a speech; a task is one."""

    @property
    def id(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def steps(self) -> int: ...

    @property
    def guidance(self) -> float: ...


class Placement(Protocol):
    """The position of a speech's first frame on the stream, and the stream's current position."""

    @property
    def position(self) -> int: ...

    @property
    def now(self) -> int: ...


class SpeechSink(Protocol):
    """Plays speeches, one after another; `streaming.handle.ChannelHandle` is one."""

    async def reserve(
        self, speech_id: str, frame_count: int, lead_s: float, start_after: int | None = None
    ) -> Placement:
        """Find a place for a speech of `frame_count` frames, at the earliest `lead_s` from now."""
        ...

    async def push(self, speech_id: str, first: int, faces: NDArray[np.uint8], audio: NDArray[np.int16]) -> None:
        """Accept frames from `first` on: faces uint8 [k, R, R, 3] and audio int16 [k, 640]; waits while it is full."""
        ...

    async def finish(self, speech_id: str) -> None:
        """Mark the speech as complete: all its frames are pushed."""
        ...


@dataclass(frozen=True)
class _Place:
    """The position of a speech on the stream, and the time at which the sink assigned it."""

    reserved: Placement
    reserved_at: float

    def due(self, frame: int) -> float:
        """The earliest time at which a frame of the speech is shown."""
        return self.reserved_at + (self.reserved.position - self.reserved.now + frame) / FPS


class SpeechMaker:
    """Generates the speeches of one sink, one at a time; `urgent` orders the chunks of all sinks by urgency."""

    def __init__(
        self,
        models: RecoveringModels,
        avatar: SpokenAvatar,
        listener: Listener,
        fade_frames: int,
        clock: Callable[[], float],
        settings: GenerationSettings,
        urgent: UrgentFirst,
        pace: Pace,
    ) -> None:
        self._models = models
        self._avatar = avatar
        self._notify = listener
        self._fade_frames = fade_frames
        self._clock = clock
        self._settings = settings
        self._urgent = urgent
        self._pace = pace

    async def say(self, order: SpeechOrder, log: SpeechLog, sink: SpeechSink) -> None:
        """Generate a speech and hand it over to the sink, which may still be playing it on return.

        It begins when all of the speech is in its log. Raises InferenceError, LogUnreadable, and the errors of the
        sink.
        """
        while log.end is None:
            await log.wait_beyond(log.frames)
        samples = (await log.read(0, log.frames)).heard.reshape(-1)
        pcm = pad_to_frames(samples.astype(np.float32) / np.float32(32768), self._fade_frames)
        frames = len(pcm) // SAMPLES_PER_FRAME
        await self._notify(order.id, LengthKnown(frames))

        slots = SpeechSlots(self._urgent, (order.steps, order.guidance == 1.0), self._clock)

        def slot(first_frame: int) -> AbstractAsyncContextManager[None]:
            due = place.due(first_frame)
            span.note(due_in_s=round(due - self._clock(), 3))
            return slots.slot(due)

        async def announce_features() -> None:
            await self._notify(order.id, FeaturesReady())

        generation = SpeechGeneration(
            _AnnouncingModels(self._models, announce_features),
            self._avatar,
            SpeechRequest(pcm, order.seed, order.steps, order.guidance),
            self._settings,
            self._clock,
            slot,
            self._models.recover,
        )
        async with aclosing(generation):
            generation.request_features()  # Whisper doesn't need the position on the stream
            # The sink may start with the first frame; `_may_start` decides how much must be generated before.
            reserved = await sink.reserve(order.id, frames, self._pace.lead_s, start_after=1)
            place = _Place(reserved, self._clock())
            await self._hand_over(order.id, generation, place, slots, sink)
        await sink.finish(order.id)

    async def _hand_over(
        self,
        speech_id: str,
        generation: SpeechGeneration,
        place: _Place,
        slots: SpeechSlots,
        sink: SpeechSink,
    ) -> None:
        """Push the speech to the sink as it is generated, once it can play without an underrun."""
        held: deque[SpeechChunk] = deque()
        started = False
        async with aclosing(generation.chunks(place.reserved.position)) as chunks:
            async for chunk in chunks:
                made = chunk.first_frame + len(chunk.faces)
                await self._notify(speech_id, FacesMade(made))
                held.append(chunk)
                if not started and await self._may_start(generation, place, slots, made):
                    started = True
                    self._pace.learn(self._clock() - place.reserved_at)
                while started and held:
                    await _push(sink, speech_id, held.popleft())
        self._pace.frames_per_s = generation.timings.frames_per_s
        while held:
            await _push(sink, speech_id, held.popleft())

    async def _may_start(self, generation: SpeechGeneration, place: _Place, slots: SpeechSlots, made: int) -> bool:
        """Wait until the speech may be handed over; return False at once where it needs more than `made` frames."""
        if made >= _MOST_HELD_S * FPS:
            return True
        if self._wait_s(generation, place) != 0:
            return False
        # The rate is sufficient, but chunks of other speeches may be processed before its next one.
        if slots.others(place.due(made)):
            await asyncio.sleep(_SETTLE_S)
        together = self._settings.chunks_ahead - 1  # requested when the first chunk arrived
        next_chunk_s = slots.next_chunk_s(place.due(made), together) or 0.0
        await asyncio.sleep(self._wait_s(generation, place, next_chunk_s) or 0.0)
        return True

    def _wait_s(self, generation: SpeechGeneration, place: _Place, next_chunk_s: float = 0.0) -> float | None:
        """Seconds until the speech may be handed over, given its position on the stream; None while unknown."""
        wait_s = generation.wait_before_start_s(self._pace.frames_per_s, next_chunk_s)
        return None if wait_s is None else max(0.0, wait_s - max(0.0, place.due(0) - self._clock()))


async def _push(sink: SpeechSink, speech_id: str, chunk: SpeechChunk) -> None:
    await sink.push(speech_id, chunk.first_frame, chunk.faces, chunk.audio)
    if chunk.first_frame == 0:
        span.event("first frame handed to the channel")


class _AnnouncingModels:
    """The models, with a callback after the first features."""

    def __init__(self, models: SpeechModels, announce: Callable[[], Awaitable[None]]) -> None:
        self._models = models
        self._announce: Callable[[], Awaitable[None]] | None = announce

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        features = await self._models.features(window)
        announce, self._announce = self._announce, None
        if announce is not None:
            await announce()
        return features

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        return await self._models.faces(noise, condition, audio, steps, guidance)
