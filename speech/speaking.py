"""One speech from its log to its sink: faces are generated, and held until the speech may start."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference import span
from inference.errors import InferenceError
from speech.audio.frames import FPS, SilentFrames
from speech.chunking import UPLOAD_CHUNKS
from speech.events import ChunkRequested, FacesMade, FeaturesReady, HandedOver, LengthKnown, Listener, SoundPlaced
from speech.generation import (
    FaceChunk,
    GenerationSettings,
    SpeechGeneration,
    SpeechModels,
    SpeechRequest,
    SpokenAvatar,
    SpokenPath,
)
from speech.horizon import Horizon
from speech.live import LiveSettings
from speech.log import SpeechLog
from speech.pacing import Pace
from speech.sink import Placement, SpeechSink
from speech.source import SpeechSource
from speech.start import spare_s
from speech.starting import Starting
from speech.timeline import SpeechTimeline
from speech.urgency import SpeechSlots, UrgentFirst

HEARD_SILENCE_FRAMES = 5
"""Frames of silence that Whisper hears around each speech, shown or not: features depend on what is around them."""
# Until faces that may be shown are where the stream takes them from.
_HANDED_OVER_S = 0.003
_USUALLY_UNEVEN_S = 0.002
_FRAME_S = 1 / FPS


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
    def source(self) -> SpeechSource: ...

    @property
    def seed(self) -> int: ...

    @property
    def steps(self) -> int: ...

    @property
    def guidance(self) -> float: ...


@dataclass(frozen=True)
class _Place:
    """The position of a speech on the stream, and the time at which the sink assigned it."""

    opened: Placement
    opened_at: float

    def due(self, frame: int) -> float:
        """The earliest time at which a frame of the speech is shown: up to a frame before it is, since nobody here
        knows for how long the one has been shown that was shown then."""
        return self.opened_at + (self.opened.position - self.opened.now - 1 + frame) / FPS


class SpeechMaker:
    """Generates the speeches of one sink, one at a time; `urgent` orders the chunks of all sinks by urgency."""

    def __init__(
        self,
        models: RecoveringModels,
        avatar: SpokenAvatar,
        listener: Listener,
        silence: SilentFrames,
        clock: Callable[[], float],
        settings: GenerationSettings,
        urgent: UrgentFirst,
        pace: Pace,
        live: LiveSettings,
        path: SpokenPath | None = None,
        horizon: Horizon | None = None,
    ) -> None:
        """`path` is given where the sink may show motions; where it does, faces are made up to `horizon`."""
        self._path = path
        self._horizon = horizon or Horizon()
        self._models = models
        self._avatar = avatar
        self._notify = listener
        self._silence = silence
        self._clock = clock
        self._settings = settings
        self._urgent = urgent
        self._pace = pace
        self._live = live
        self._uneven_s = _USUALLY_UNEVEN_S  # of the last that somebody spoke

    async def say(self, order: SpeechOrder, log: SpeechLog, sink: SpeechSink) -> None:
        """Generate a speech and hand it over to the sink, which may still be playing it on return.

        Follows the log until its end. Raises InferenceError, OSError where the log can't be read, and the errors of
        the sink.
        """
        heard_before = max(HEARD_SILENCE_FRAMES, self._silence.before)
        timeline = SpeechTimeline(log, heard_before, max(HEARD_SILENCE_FRAMES, self._silence.behind))
        slots = SpeechSlots(self._urgent, _work(order.steps, order.guidance), self._clock)
        teller = _Teller(order.id, self._notify, heard_before)

        def slot(first_frame: int, frames: int) -> AbstractAsyncContextManager[None]:
            due = place.due(first_frame)
            span.note(due_in_s=round(due - self._clock(), 3))
            return slots.slot(due, frames)

        starting: Starting | None = None

        def early_s(first_frame: int, frames_per_s: float | None) -> float:
            if self._path is None or not self._path.has_motions or starting is None or not starting.started:
                return 0.0  # what is held before the start is up to the start rule
            ahead_s = self._horizon.seconds(frames_per_s)
            return 0.0 if ahead_s is None else place.due(first_frame) - self._clock() - ahead_s

        generation = SpeechGeneration(
            _AnnouncingModels(self._models, teller),
            self._avatar,
            timeline,
            self._request(order),
            self._settings,
            self._clock,
            slot,
            self._models.recover,
            lambda first_frame: slots.crowded(place.due(first_frame)),
            self._path,
            early_s,
        )
        # Only what somebody speaks now arrives no faster than it is heard.
        is_spoken = order.source is SpeechSource.MICROPHONE
        async with aclosing(generation):
            with slots.spoken() if is_spoken else nullcontext():
                generation.request_features()  # Whisper doesn't need the position on the stream
                await teller.length(generation.frame_count)
                # The sink may start with the first frame; `Starting` decides how much must be generated before.
                on_gpu = self._urgent.capacity.on_gpu
                spoken_s = generation.sound_due_s if is_spoken else 0.0
                if is_spoken and on_gpu:
                    # It is all that a start waits for there, and silence before it brings it forward by up to a frame.
                    spoken_s += generation.longer_second_s - _FRAME_S
                lead_s = self._pace.lead_s(order.source, spoken_s, on_gpu)
                opened = await sink.open(order.id, generation.frame_count, lead_s, start_after=1)
                place = _Place(opened, self._clock())
                together = self._settings.chunks_ahead - 1  # requested when the first chunk arrived
                starting = Starting(
                    generation, slots, place.due, self._pace.frames_per_s, together, self._clock,
                    lambda ready_at: self._learn(order.source, place, lead_s, ready_at),
                    self._pace.whisper_s if is_spoken and on_gpu else None,
                )  # fmt: skip
                try:
                    await self._hand_over(sink, generation, opened.position, starting, teller)
                finally:
                    self._pace.heard(order.source, generation.usual_whisper_s)
                    if is_spoken and starting.started:
                        self._uneven_s = generation.uneven_s
                    starting = None  # it holds the generation, which holds `early_s`: a cycle would keep all faces
        await sink.end(order.id)

    def microphone_takes_s(self, steps: int, guidance: float) -> float | None:
        """Seconds until a speech that somebody begins to speak may start, once it has the sound of the chunk that it
        waits for. None while unknown, where others are spoken whose chunks may come before its own, and without a GPU,
        where no chunk takes the time of the one before it.
        """
        capacity, whisper_s = self._urgent.capacity, self._pace.whisper_s
        chunk_s = self._urgent.measured_s(_work(steps, guidance), self._live.chunk_frames)
        if not capacity.on_gpu or self._urgent.spoken >= capacity.instances or whisper_s is None or chunk_s is None:
            return None
        return whisper_s + chunk_s + spare_s(True, self._uneven_s) + _HANDED_OVER_S

    def _learn(self, source: SpeechSource, place: _Place, lead_s: float, ready_at: float) -> None:
        # Behind another speech nobody hurries: its chunks come first.
        if place.due(0) - place.opened_at <= lead_s + _FRAME_S:
            self._pace.learn(source, lead_s, ready_at - place.opened_at)

    def _request(self, order: SpeechOrder) -> SpeechRequest:
        request = SpeechRequest(
            order.seed,
            order.steps,
            order.guidance,
            first_frame=max(0, HEARD_SILENCE_FRAMES - self._silence.before),
            hidden_frames=max(0, HEARD_SILENCE_FRAMES - self._silence.behind),
        )
        if order.source is SpeechSource.UPLOAD:
            return replace(request, chunks=UPLOAD_CHUNKS)
        live, shared, on_gpu = self._live, self._settings.overlap_frames, self._urgent.capacity.on_gpu
        return replace(
            request,
            windows=live.windows(on_gpu),
            # A sentence is there as a whole, so that its chunks needn't wait for sound that is still spoken.
            chunks=UPLOAD_CHUNKS if order.source is SpeechSource.TEXT else live.chunks,
            catch_up_frames=live.backlog_frames + shared if order.source is SpeechSource.MICROPHONE else None,
            hears_ahead=on_gpu,  # without one, the first chunk would need the cores
        )

    async def _hand_over(
        self, sink: SpeechSink, generation: SpeechGeneration, first_position: int, starting: Starting, teller: _Teller
    ) -> None:
        """Hand chunks over in order, the first ones once the speech may start."""
        held: deque[FaceChunk] = deque()
        async with aclosing(generation.chunks(first_position)) as chunks:
            coming = asyncio.ensure_future(anext(chunks, None))
            try:
                while True:
                    await asyncio.wait({coming}, timeout=starting.remaining_s)
                    if not coming.done():
                        starting.reached()
                    elif (chunk := coming.result()) is None:
                        break
                    else:
                        coming = asyncio.ensure_future(anext(chunks, None))
                        held.append(chunk)
                        await teller.made(chunk, generation.frame_count)
                        starting.made()
                    while starting.started and held:
                        chunk = held.popleft()
                        if generation.catching_up.leaves_out:
                            unplayed, waited = sink.unplayed(teller.speech_id), sink.waited(teller.speech_id)
                            generation.catching_up.written(chunk, unplayed, waited)
                        await _write(sink, chunk, teller)
                    if starting.started and generation.pauses:
                        starting.begin_again()
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
                del coming  # a failed one holds its error, whose traceback holds this frame, its chunks and the sink
        self._pace.frames_per_s = generation.timings.frames_per_s
        while held:
            await _write(sink, held.popleft(), teller)


def _work(steps: int, guidance: float) -> tuple[int, bool]:
    """What the time of a chunk of one length depends on."""
    return steps, guidance == 1.0


async def _write(sink: SpeechSink, chunk: FaceChunk, teller: _Teller) -> None:
    await sink.write(teller.speech_id, chunk.first_frame, chunk.faces, chunk.sound, chunk.may_pause)
    if chunk.first_frame == 0:
        await teller.handed_over()


class _Teller:
    """Tells the listener of a speech's progress."""

    def __init__(self, speech_id: str, notify: Listener, heard_before: int) -> None:
        self.speech_id = speech_id
        self._notify = notify
        self._heard_before = heard_before
        self._length: int | None = None
        self._shift: int | None = None

    async def length(self, frames: int | None) -> None:
        """The length may be known, or have changed since frames were left out."""
        if frames is not None and frames != self._length:
            self._length = frames
            await self._notify(self.speech_id, LengthKnown(frames))

    async def features(self) -> None:
        """The first features have come."""
        await self._notify(self.speech_id, FeaturesReady())

    async def chunk(self) -> None:
        """The first chunk is requested."""
        await self._notify(self.speech_id, ChunkRequested())

    async def made(self, chunk: FaceChunk, frames: int | None) -> None:
        """A chunk is generated."""
        heard = chunk.timeline_frame - self._heard_before
        if heard - chunk.first_frame != self._shift:
            self._shift = heard - chunk.first_frame
            await self._notify(self.speech_id, SoundPlaced(chunk.first_frame, heard))
        await self._notify(self.speech_id, FacesMade(chunk.first_frame + len(chunk.faces)))
        await self.length(frames)

    async def handed_over(self) -> None:
        """The first frame is the channel's."""
        await self._notify(self.speech_id, HandedOver())


class _AnnouncingModels:
    """The models; it is told when the first features have come, and when the first chunk is requested."""

    def __init__(self, models: SpeechModels, teller: _Teller) -> None:
        self._models = models
        self._teller = teller
        self._heard = self._requested = False

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        features = await self._models.features(window)
        if not self._heard:
            self._heard = True
            await self._teller.features()
        return features

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        if not self._requested:
            self._requested = True
            await self._teller.chunk()
        return await self._models.faces(noise, condition, audio, steps, guidance)
