"""Speeches in virtual time: a channel whose mixer is the product's, and logs that are read at once."""

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from speech.audio.frames import SilentFrames
from speech.events import SpeechEvent
from speech.generation import GenerationSettings
from speech.live import LiveSettings
from speech.log import LogEnd, SoundFrames, SpeechLog
from speech.pacing import Pace
from speech.speaking import SpeechMaker
from speech.urgency import UrgentFirst
from streaming.events import SpeechResumed
from streaming.handle import Reservation
from streaming.mixer import Mixer

FPS = CONTRACT.frames_per_second


class QuickLog(SpeechLog):
    """Read at once: in virtual time no thread is waited for."""

    async def read(self, first: int, count: int) -> SoundFrames:
        return self.read_now(first, count)


class SpokenLog(QuickLog):
    """A complete log whose frames arrive one by one from now on, `speed` times as fast as they are spoken."""

    speed = 1.0
    _begun_at: float | None = None

    @property
    def frames(self) -> int:
        now = asyncio.get_running_loop().time()
        if self._begun_at is None:
            self._begun_at = now
        return min(super().frames, math.floor((now - self._begun_at) * FPS * self.speed + 1e-6))

    @property
    def end(self) -> LogEnd | None:
        return LogEnd() if self.frames == super().frames else None

    async def wait_beyond(self, frames: int) -> int:
        loop = asyncio.get_running_loop()
        while self.frames <= frames and self.end is None:
            assert self._begun_at is not None
            await asyncio.sleep(max(1e-4, self._begun_at + (self.frames + 1) / FPS / self.speed - loop.time()))
        return self.frames

    async def read(self, first: int, count: int) -> SoundFrames:
        await asyncio.sleep(0.001)  # a thread's way there and back
        return self.read_now(first, count)


async def unheard(speech_id: str, event: SpeechEvent) -> None:
    """Nobody keeps account of these speeches."""


def speech_maker(
    models: Any, urgent: UrgentFirst, pace: Pace | None = None, live: LiveSettings | None = None
) -> SpeechMaker:
    """The product's, of an avatar of one frame, by the running loop's time."""
    avatar: Any = SimpleNamespace(condition=np.zeros((1, 9, 1, 1), np.float16), frame_index=lambda position: 0)
    return SpeechMaker(
        models, avatar, unheard, SilentFrames(0, 2), asyncio.get_running_loop().time, GenerationSettings(), urgent,
        pace or Pace(), live or LiveSettings(),
    )  # fmt: skip


class MixedChannel:
    """Where ChannelHandle stands: the real mixer, at 25 frames/s, with room for 64 faces.

    `heard` has the seconds at which each frame of sound was shown, and the frame's first sample.
    """

    def __init__(self) -> None:
        self.mixer = Mixer(fade_frames=2, linger_frames=4, period=500)
        self.heard: list[tuple[float, int]] = []
        self._sounds: dict[str, list[int]] = {}
        self._waited: dict[str, int] = {}
        self._ticked = asyncio.Event()

    @property
    def spoken(self) -> int:
        """Frames with sound that were shown."""
        return len(self.heard)

    async def play(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        for frame in range(1, round(FPS * seconds)):
            await asyncio.sleep(max(0.0, frame / FPS - loop.time()))
            tick = self.mixer.tick()
            if tick.speech is not None and tick.audio is not None:
                self.heard.append((loop.time(), self._sounds[tick.speech][tick.audio]))
            for event in tick.events:
                if isinstance(event, SpeechResumed):
                    self._waited[event.speech_id] = self._waited.get(event.speech_id, 0) + event.late_frames
            self._ticked.set()

    async def open(self, speech: str, frames: int | None, lead_s: float, start_after: int | None = None) -> Reservation:
        self._sounds[speech] = []
        position = self.mixer.open(speech, frames, math.ceil(lead_s * FPS), start_after or 1)
        return Reservation(position, self.mixer.position)

    async def write(
        self, speech: str, first: int, faces: NDArray[Any], sound: NDArray[Any], may_pause: bool = False
    ) -> None:
        while sum(each.available - each.played for each in self.mixer._all()) + len(faces) > 64:
            self._ticked.clear()
            await self._ticked.wait()
        self._sounds[speech] += [int(samples[0]) for samples in sound]
        self.mixer.available(speech, first + len(faces))

    def unplayed(self, speech: str) -> int:
        found = next((each for each in self.mixer._all() if each.id == speech), None)
        # The frame that is shown is held until the next one is.
        return 0 if found is None else found.available - max(0, found.played - 1)

    def waited(self, speech: str) -> int:
        return self._waited.get(speech, 0)

    async def end(self, speech: str) -> None:
        for each in self.mixer._all():
            if each.id == speech:
                self.mixer.end(speech, each.available)
