"""Switches at random moments, in idle and in speech: what their pictures, their faces and their times are."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.machine import Machine
from bench.motions.channel import VirtualChannel, difference
from bench.motions.lips import LipsAcross
from bench.motions.stand_ins import SILENCE, NotingModels, Order, QuickLog, avatar_of, speech_maker
from bench.virtual_loop import in_virtual_time
from latentsync.avatar import PreparedAvatar
from latentsync.clip_path import IDLE, Detour
from latentsync.contract import CONTRACT
from latentsync.motions import open_motions
from latentsync.sound import SOUND_FRAME_SAMPLES
from orchestrator.avatars.faces import FaceFinder
from orchestrator.channels.shared_path import SharedPath
from speech.log import LogEnd
from streaming.compositor import Compositor
from streaming.config import FPS
from streaming.mixer import Mixer
from streaming.motions import ChannelMotions

_MOTIONS = 5
_PAUSE_S = (0.2, 4.0)
_SPEECH_S = (4.0, 8.0)
_RATE = 60.0  # frames/s of the stand-in: more than twice what is played
_COST_PARTS = 9


@dataclass(frozen=True)
class MotionsPlan:
    """So many switches, every second one in speech, between an idle clip and motions.

    What a frame costs is measured in nine parts of `cost_frames` frames.
    """

    switches: int
    seed: int
    idle: Path
    motions: tuple[Path, ...]
    cost_frames: int = 200


@dataclass(frozen=True)
class Percentiles:
    """Of seconds."""

    p50: float
    p95: float
    most: float


@dataclass(frozen=True)
class MotionsRecord:
    """What came out.

    `largest_neighbour` is the largest difference between neighbouring frames within the clips, in grey levels, and
    `largest_switch` the largest between two pictures of a switch; `hard_cut` is the median of a switch without any of
    this, at the moment of the request. `cost` is the time of a frame with five motions over that of one without.
    `lips` is None where they weren't measured.
    """

    date: str
    machine: Machine
    plan: MotionsPlan
    switches_idle: int
    switches_speaking: int
    late_frames: int
    missing_frames: int
    sound_without_its_face: int
    made_for_another_frame: int
    largest_neighbour: float
    largest_switch: float
    switches_over: int
    hard_cut: float
    fade_frames: tuple[int, int]
    to_motion_idle_s: Percentiles
    to_motion_speaking_s: Percentiles
    cost_idle: float
    cost_speaking: float
    lips: LipsAcross | None

    @property
    def switch_ratio(self) -> float:
        """Of the largest switch to the largest neighbouring frames."""
        return self.largest_switch / self.largest_neighbour

    @property
    def broken(self) -> list[str]:
        """Each promise that was not kept."""
        counted = {
            "late frames": self.late_frames,
            "missing frames": self.missing_frames,
            "frames of sound without their face": self.sound_without_its_face,
            "faces made for another frame": self.made_for_another_frame,
        }
        broken = [f"{count} {name}" for name, count in counted.items() if count]
        if self.switch_ratio > 1.5:
            broken.append(f"a switch differs {self.switch_ratio:.2f} times as much as neighbouring frames do at most")
        return broken + ([] if self.lips is None else self.lips.broken)

    def to_json(self) -> str:
        """The record as JSON."""
        values = {**asdict(self), "switch_ratio": round(self.switch_ratio, 3), "broken": self.broken}
        return json.dumps(values, indent=2, default=str)


@dataclass(frozen=True)
class _Request:
    speaking: bool
    position: int
    frame: tuple[str, int]
    motion: str
    begins: int

    @property
    def seconds(self) -> float:
        """From the request to the first frame of the motion."""
        return (self.begins - self.position) / FPS


def run_motions(
    plan: MotionsPlan,
    machine: Machine,
    date: datetime,
    report: Callable[[str], None] = lambda line: None,
    finder: FaceFinder | None = None,
    lips: LipsAcross | None = None,
) -> MotionsRecord:
    """Run the plan, in virtual time and then, for the cost, as fast as it goes.

    Without a `finder` no landmarks are compared, and heads don't meet in a crossfade. `lips` go into the record.
    """
    with tempfile.TemporaryDirectory() as folder:
        names = [(f"motion-{number}", video) for number, video in enumerate(plan.motions)]
        extra = [(f"motion-{number}", plan.motions[0]) for number in range(len(names), _MOTIONS)]
        report("reading the clips")
        avatar = avatar_of(plan.idle, names + extra, Path(folder) / "avatar", finder)
        run = _Run(plan, avatar, Path(folder), report)
        in_virtual_time(run.work())
        report("measuring what it costs")
        return run.record(machine, date, lips)


class _Run:
    def __init__(self, plan: MotionsPlan, avatar: PreparedAvatar, folder: Path, report: Callable[[str], None]) -> None:
        self._plan = plan
        self._avatar = avatar
        self._folder = folder
        self._report = report
        self._random = random.Random(plan.seed)
        self._models = NotingModels(_RATE, plan.switches)
        motions = open_motions(avatar)
        self._names = [IDLE, *motions]
        self._channel = VirtualChannel(avatar, self._made_for)
        self._path = SharedPath(avatar, motions)
        self._requests: list[_Request] = []
        self._spoken: dict[str, int] = {}

    def _made_for(self, speech: str, frame: int) -> tuple[str, int]:
        clip, number = self._models.made[int(speech), frame]
        return self._names[clip], number

    async def work(self) -> None:
        """Ask for all switches, one after another."""
        self._path.attach(self._channel)
        playing = asyncio.create_task(self._channel.play(10**9))
        await self._channel.ticked()
        for number in range(self._plan.switches // 2):
            if number % 10 == 0:
                self._report(f"switch {2 * number} of {self._plan.switches}")
            await asyncio.sleep(self._random.uniform(*_PAUSE_S))
            await self._ask(speaking=False)
            await self._idle()
            await self._speak(number + 1)
            await self._idle()
            self._path.release()
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)

    async def _idle(self) -> None:
        """Until no motion and no speech is there."""
        channel = self._channel
        while channel.mixer.speeches or any(
            d.end is None or d.end >= channel.mixer.position for d in channel.motions.path.detours
        ):
            await channel.ticked()

    async def _speak(self, number: int) -> None:
        frames = round(self._random.uniform(*_SPEECH_S) * FPS)
        path = self._folder / f"speech-{number}"
        path.write_bytes(bytes(frames * 2 * (CONTRACT.samples_per_frame + SOUND_FRAME_SAMPLES)))
        log = QuickLog(path, LogEnd())
        maker = speech_maker(self._models, self._avatar, self._path)
        saying = asyncio.create_task(maker.say(Order(str(number), number), log, self._channel))
        await asyncio.sleep(self._random.uniform(0.1, 0.9) * frames / FPS)
        await self._ask(speaking=bool(self._channel.mixer.speeches))
        await saying
        log.close()
        path.unlink()
        self._spoken[str(number)] = frames + SILENCE.behind

    async def _ask(self, speaking: bool) -> None:
        name = self._random.choice(self._path.names)
        position = self._channel.mixer.position
        shown = self._channel.motions.path.at(position)
        planned = await self._path.play(name)
        self._requests.append(_Request(speaking, position, (shown.clip, shown.frame), name, planned.position))

    def record(self, machine: Machine, date: datetime, lips: LipsAcross | None) -> MotionsRecord:
        """What came out."""
        watched = self._channel.watched
        switches = self._switches()
        largest_neighbour = max(_largest_neighbour(clip) for clip in self._clips().values())
        sounded = [(tick.speech, tick.audio) for tick in watched.ticks if tick.audio is not None]
        expected = [(speech, frame) for speech, frames in self._spoken.items() for frame in range(frames)]
        idle_cost, speaking_cost = self._cost()
        detours = watched.detours.values()
        return MotionsRecord(
            date=date.isoformat(timespec="seconds"),
            machine=machine,
            plan=self._plan,
            switches_idle=sum(not request.speaking for request in self._requests),
            switches_speaking=sum(request.speaking for request in self._requests),
            late_frames=self._channel.mixer.counters.late_frames,
            missing_frames=len(set(expected) - set(sounded)) + len(sounded) - len(set(sounded)),
            sound_without_its_face=sum(tick.audio is not None and tick.audio != tick.face for tick in watched.ticks),
            made_for_another_frame=watched.made_for_another_frame,
            largest_neighbour=round(largest_neighbour, 3),
            largest_switch=round(max(switches), 3),
            switches_over=sum(each > 1.5 * largest_neighbour for each in switches),
            hard_cut=round(float(np.median([self._hard_cut(request) for request in self._requests])), 3),
            fade_frames=(min(d.fade_in for d in detours), max(d.fade_in for d in detours)),
            to_motion_idle_s=_percentiles([r.seconds for r in self._requests if not r.speaking]),
            to_motion_speaking_s=_percentiles([r.seconds for r in self._requests if r.speaking]),
            cost_idle=round(idle_cost, 3),
            cost_speaking=round(speaking_cost, 3),
            lips=lips,
        )

    def _switches(self) -> list[float]:
        """The largest step of each switch, into a motion and out of it."""
        watched = self._channel.watched
        places = {position: number for number, position in enumerate(watched.positions)}
        found = []
        for detour in watched.detours.values():
            assert detour.end is not None
            for first, last in ((detour.start, detour.start + detour.fade_in), (_falls(detour), detour.end)):
                steps = [watched.steps[places[p] - 1] for p in range(first, last + 1) if places.get(p)]
                if steps:
                    found.append(max(steps))
        return found

    def _hard_cut(self, request: _Request) -> float:
        clips = self._clips()
        clip, frame = request.frame
        return difference(clips[clip].frame(frame), clips[request.motion].frame(0))

    def _clips(self) -> dict[str, PreparedAvatar]:
        return {IDLE: self._avatar, **{name: m.clip for name, m in self._channel.motions.motions.items()}}

    def _cost(self) -> tuple[float, float]:
        """The time of a frame with motions over that of one without, in idle and in speech: medians of parts of each.

        Parts follow one another in turn, so that whatever else the machine does meets all alike.
        """
        plain_folder = self._folder / "plain"
        plain = avatar_of(self._plan.idle, [], plain_folder)
        ratios = []
        for speaking in (False, True):
            times: list[tuple[float, float]] = []
            for _ in range(_COST_PARTS):
                one = _frames_s(self._avatar, True, speaking, self._plan.cost_frames)
                times.append((one, _frames_s(plain, False, speaking, self._plan.cost_frames)))
            ratios.append(float(np.median([one / other for one, other in times])))
        return ratios[0], ratios[1]


def _frames_s(avatar: PreparedAvatar, with_motions: bool, speaking: bool, frames: int) -> float:
    motions = ChannelMotions(avatar) if with_motions else None
    compositor = Compositor(avatar, None, motions)
    mixer = Mixer(2, 4, avatar.period)
    if motions is not None:
        mixer.keep_to_the_path(motions.nearest_equal)
    if speaking:
        mixer.open("a", frames + 10, 0, 1)
        mixer.available("a", frames + 10)
    face = np.zeros((avatar.resolution, avatar.resolution, 3), np.uint8)
    out = np.empty((compositor.height, compositor.width, 3), np.uint8)
    began = time.process_time()
    for number in range(frames):
        tick = mixer.tick()
        if motions is not None:
            motions.note(number, tick.position)
        if tick.face is None:
            out[...] = compositor.idle(tick.position, number)
        else:
            compositor.speaking(tick.position, number, face, tick.opacity, out)
    return time.process_time() - began


def _falls(detour: Detour) -> int:
    assert detour.end is not None
    return detour.end - detour.fade_out


def _largest_neighbour(clip: PreparedAvatar) -> float:
    return max(difference(clip.frame(a), clip.frame(b)) for a, b in pairwise(clip.played))


def _percentiles(seconds: list[float]) -> Percentiles:
    p50, p95, most = (round(float(np.quantile(seconds, share)), 3) for share in (0.5, 0.95, 1.0))
    return Percentiles(p50, p95, most)
