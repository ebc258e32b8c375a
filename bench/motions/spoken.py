"""Speeches with a motion in them, as a channel shows them, beside the same speeches without any switch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.motions.channel import VirtualChannel
from bench.motions.lips import LATE, REACH, Across
from bench.motions.stand_ins import Order, QuickLog, speech_maker
from latentsync.avatar import PreparedAvatar
from latentsync.clip_path import IDLE, Detour
from latentsync.motions import open_motions
from orchestrator.channels.shared_path import SharedPath
from speech.log import LogEnd
from speech.speaking import RecoveringModels
from streaming.handle import Reservation

_BEFORE_S = 10.0
_ASKED_S = (0.2, 1.0)  # of the speech, when its motion is asked for
_LEAD_FRAMES = 10

Faces = NDArray[np.uint8]


class _KeepingChannel(VirtualChannel):
    """It keeps the faces that it was given, by their frames of the speech."""

    def __init__(self, avatar: PreparedAvatar) -> None:
        super().__init__(avatar, made=None, pictures=False)
        self.faces: dict[int, Faces] = {}

    async def write(
        self, speech_id: str, first: int, faces: Faces, sound: NDArray[np.int16], may_pause: bool = False
    ) -> None:
        self.faces |= dict(enumerate(faces, first))
        await super().write(speech_id, first, faces, sound, may_pause)


class _KeepingSink:
    """A stream on which a speech begins at a position that is given; nobody watches it."""

    def __init__(self, position: int) -> None:
        self._position = position
        self.faces: dict[int, Faces] = {}

    async def open(
        self, speech_id: str, expected_frames: int | None, lead_s: float, start_after: int | None = None
    ) -> Reservation:
        return Reservation(self._position, self._position - _LEAD_FRAMES)

    async def write(
        self, speech_id: str, first: int, faces: Faces, sound: NDArray[np.int16], may_pause: bool = False
    ) -> None:
        self.faces |= dict(enumerate(faces, first))

    def unplayed(self, speech_id: str) -> int:
        return 0

    def waited(self, speech_id: str) -> int:
        return 0

    async def end(self, speech_id: str) -> None:
        """Nothing waits for it."""


@dataclass(frozen=True)
class _Steady:
    """One clip for ever; `shift` is added to a position to get the clip's own."""

    clip: PreparedAvatar
    shift: int

    @property
    def condition(self) -> NDArray[np.float16]:
        return self.clip.condition

    def frame_index(self, position: int) -> int:
        return self.clip.frame_index(position + self.shift)


@dataclass(frozen=True)
class _Shown:
    """What a channel showed of a speech, by position: the face, the frame of the sound that played, and the clip."""

    detour: Detour
    first_position: int
    faces: dict[int, Faces]
    sound: dict[int, int]
    clips: dict[int, str]

    def part(self, position: int) -> str:
        """Where a position lies on the path, by the clip that its face was made for."""
        if self.clips[position] != IDLE:
            return "motion"
        return "before" if position < self.detour.start + self.detour.fade_in else "behind"


class SpokenSwitches:
    """Says each speech on a channel that is asked for a motion meanwhile, and again on one clip at a time.

    Runs in virtual time; the models answer in the loop's own thread.
    """

    def __init__(self, avatar: PreparedAvatar, models: RecoveringModels, steps: int, guidance: float) -> None:
        """`avatar` has motions."""
        self._avatar = avatar.with_own_condition()
        self._motions = {name: motion.with_own_condition() for name, motion in open_motions(avatar).items()}
        self._models = models
        self._steps = steps
        self._guidance = guidance

    async def windows(
        self, speeches: list[Path], seed: int, report: Callable[[str], None] = lambda line: None
    ) -> list[Across]:
        """The windows around the switches that lie within their speech; each motion in its turn."""
        moments, names, found = random.Random(seed), list(self._motions), list[Across]()
        for number, path in enumerate(speeches):
            name = names[number % len(names)]
            report(f"speech {number + 1} of {len(speeches)}, with {name}")
            order = Order(str(number), number, steps=self._steps, guidance=self._guidance)
            async with _log(path) as log:
                shown = await self._shown(order, log, name, moments)
            found += await self._across(order, path, shown)
        return found

    async def _shown(self, order: Order, log: QuickLog, name: str, moments: random.Random) -> _Shown:
        channel, path = _KeepingChannel(self._avatar), SharedPath(self._avatar, self._motions)
        path.attach(channel)
        playing = asyncio.create_task(channel.play(10**9))
        await asyncio.sleep(moments.uniform(0.1, _BEFORE_S))
        saying = asyncio.create_task(speech_maker(self._models, self._avatar, path).say(order, log, channel))
        while not channel.faces:
            await channel.ticked()
        await asyncio.sleep(moments.uniform(*_ASKED_S))
        await path.play(name)
        await saying
        while channel.mixer.speeches:
            await channel.ticked()
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        spoken = [tick for tick in channel.watched.ticks if tick.face is not None and tick.audio is not None]
        return _Shown(
            detour=channel.motions.path.detours[-1],
            first_position=spoken[0].position - (spoken[0].audio or 0),
            faces={tick.position: channel.faces[tick.face] for tick in spoken if tick.face is not None},
            sound={tick.position: tick.audio for tick in spoken if tick.audio is not None},
            clips={tick.position: channel.motions.path.at(tick.position).clip for tick in spoken},
        )

    async def _across(self, order: Order, path: Path, shown: _Shown) -> list[Across]:
        detour = shown.detour
        assert detour.end is not None
        ends = (detour.start, detour.start + detour.fade_in), (detour.end - detour.fade_out, detour.end)
        windows = [range(first - REACH, last + REACH) for first, last in ends]
        within = [window for window in windows if {window.start - LATE, window.stop - 1} <= shown.sound.keys()]
        if not within:
            return []
        # A clip of the path at a time, each at the frames that the path shows of it.
        shifts = {"before": (IDLE, 0), "motion": (detour.motion, detour.entry - detour.start)}
        shifts["behind"] = (IDLE, detour.idle_shift)
        steady = {part: await self._steady(order, path, shown, *clip) for part, clip in shifts.items()}

        return [
            Across(
                shown=np.stack([shown.faces[position] for position in window]),
                same_pose=np.stack([steady[shown.part(position)][shown.sound[position]] for position in window]),
                idle=np.stack([steady["before"][shown.sound[position]] for position in window]),
                late=np.stack([shown.faces[position - LATE] for position in window]),
            )
            for window in within
        ]

    async def _steady(self, order: Order, path: Path, shown: _Shown, clip: str, shift: int) -> dict[int, Faces]:
        """Every face of the same speech where nothing but one clip is shown."""
        avatar = self._avatar if clip == IDLE else self._motions[clip].clip
        sink = _KeepingSink(shown.first_position)
        async with _log(path) as log:
            await speech_maker(self._models, _Steady(avatar, shift)).say(order, log, sink)
        return sink.faces


@asynccontextmanager
async def _log(path: Path) -> AsyncIterator[QuickLog]:
    log = QuickLog(path, LogEnd())
    try:
        yield log
    finally:
        log.close()
