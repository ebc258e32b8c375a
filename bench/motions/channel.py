"""A channel in virtual time: the product's mixer, motions and compositor, and a look at every frame that it shows."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from latentsync.avatar import PreparedAvatar
from latentsync.clip_path import ClipPath, Detour, Priority
from latentsync.switching import DEFAULT_BOUND, MotionRefused
from orchestrator.channels.shared_path import RING_WITH_MOTIONS
from streaming.compositor import Compositor
from streaming.config import FPS
from streaming.handle import ChannelError, PlannedMotion, Reservation
from streaming.mixer import Mixer, Tick
from streaming.motions import ChannelMotions

Made = tuple[str, int]
"""What a face was made for: a clip and a frame of it."""


@dataclass
class Watched:
    """What was seen of the frames; `steps` [n] is how much each picture's body differs from the one before."""

    ticks: list[Tick] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    made_for_another_frame: int = 0
    detours: dict[tuple[str, int], Detour] = field(default_factory=dict)


class VirtualChannel:
    """Where `ChannelHandle` and its process stand."""

    def __init__(self, avatar: PreparedAvatar, made: Callable[[str, int], Made] | None, pictures: bool = True) -> None:
        """`made` tells what the face of a speech's frame was made for; None where nobody compares it."""
        self.motions = ChannelMotions(avatar)
        self.compositor = Compositor(avatar, avatar.idle, self.motions)
        self.mixer = Mixer(2, 4, avatar.period)
        self.mixer.keep_to_the_path(self.motions.nearest_equal)
        self.watched = Watched()
        self.asked_at: list[tuple[float, bool]] = []
        self._made = made
        self._pictures = pictures
        self._before: NDArray[np.uint8] | None = None
        self._ticked = asyncio.Event()
        self._follow: Callable[[tuple[Detour, ...]], None] = lambda detours: None

    async def play(self, frames: int) -> None:
        """Shows so many frames, one each 40 ms of the loop's time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(frames):
            await asyncio.sleep(max(0.0, began + number / FPS - loop.time()))
            self._show(number)
            ticked, self._ticked = self._ticked, asyncio.Event()
            ticked.set()

    async def ticked(self) -> None:
        """Returns after the next frame."""
        await self._ticked.wait()

    async def open(
        self, speech_id: str, expected_frames: int | None, lead_s: float, start_after: int | None = None
    ) -> Reservation:
        """A place for a speech."""
        position = self.mixer.open(speech_id, expected_frames, math.ceil(lead_s * FPS), start_after or 1)
        return Reservation(position, self.mixer.position)

    async def write(
        self, speech_id: str, first: int, faces: NDArray[np.uint8], sound: NDArray[np.int16], may_pause: bool = False
    ) -> None:
        """Takes faces as far ahead as the ring has room."""
        for frame in range(first, first + len(faces)):
            while frame - self._played(speech_id) >= RING_WITH_MOTIONS:
                await self.ticked()
            self.mixer.available(speech_id, frame + 1)

    def unplayed(self, speech_id: str) -> int:
        """Frames of a speech that were taken and not shown."""
        return sum(speech.available - speech.played for speech in self.mixer._all() if speech.id == speech_id)

    def waited(self, speech_id: str) -> int:
        """Nobody asks: no speech here is a microphone's."""
        return 0

    async def end(self, speech_id: str) -> None:
        """All of a speech is written."""
        for speech in self.mixer._all():
            if speech.id == speech_id:
                self.mixer.end(speech_id, speech.available)

    async def cancel(self, speech_id: str) -> None:
        """Interrupts a speech."""
        self.mixer.cancel(speech_id)
        if not set(self.mixer.speeches) - {speech_id} and self.motions.hasten(self.mixer.position):
            self._tell()

    async def play_motion(
        self,
        name: str,
        not_before: int = 0,
        repeat: int | None = 1,
        priority: Priority = Priority.REQUEST,
        delay_frames: int = 0,
        bound: int = DEFAULT_BOUND,
    ) -> PlannedMotion:
        """As `ChannelHandle.play_motion`."""
        values = {
            "name": name, "not_before": not_before, "repeat": repeat, "priority": int(priority),
            "delay_frames": delay_frames, "bound": bound,
        }  # fmt: skip
        await asyncio.sleep(0.002)  # the way to the process and back
        try:
            reply = self.motions.play(self.mixer.position, values)
        except MotionRefused as error:
            raise ChannelError(str(error)) from error
        self._tell()
        return PlannedMotion(reply["position"], reply["end"], reply["now"])

    async def stop_motion(self, not_before: int = 0, priority: Priority = Priority.REQUEST) -> int | None:
        """As `ChannelHandle.stop_motion`."""
        reply = self.motions.stop(self.mixer.position, {"not_before": not_before, "priority": int(priority)})
        self._tell()
        return None if reply["end"] is None else reply["end"] - reply["now"]

    async def add_motion(self, name: str) -> None:
        """As `ChannelHandle.add_motion`."""
        self.motions.add(self.mixer.position, {"name": name})
        self.compositor.add(name, self.motions.motions[name].clip)

    async def remove_motion(self, name: str, not_before: int = 0) -> None:
        """As `ChannelHandle.remove_motion`."""
        self.motions.remove(self.mixer.position, {"name": name, "not_before": not_before})
        self._tell()

    def follow_path(self, changed: Callable[[tuple[Detour, ...]], None]) -> None:
        """As `ChannelHandle.follow_path`."""
        self._follow = changed
        changed(self.motions.path.detours)

    def _tell(self) -> None:
        for detour in self.motions.path.detours:
            self.watched.detours[detour.motion, detour.start] = detour
        self._follow(ClipPath.detours_from_json(self.motions.path.to_json()))

    def _played(self, speech_id: str) -> int:
        return next((speech.played for speech in self.mixer._all() if speech.id == speech_id), 10**9)

    def _show(self, number: int) -> None:
        tick = self.mixer.tick()
        self.motions.note(number, tick.position)
        watched = self.watched
        watched.ticks.append(tick)
        watched.positions.append(tick.position)
        if self._made is not None and tick.speech is not None and tick.audio is not None:
            shown = self.motions.path.at(tick.position)
            watched.made_for_another_frame += self._made(tick.speech, tick.audio) != (shown.clip, shown.frame)
        if self._pictures:
            picture = np.array(self.compositor.idle(tick.position, number))
            if self._before is not None:
                watched.steps.append(difference(self._before, picture))
            self._before = picture


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Mean difference of two pictures in grey levels."""
    return float(np.mean(cv2.mean(cv2.absdiff(one, other))[:3]))
