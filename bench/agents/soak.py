"""Segments over one door with random fates: what is told of each, and what of it a listener of the stream heard."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum

import httpx
import numpy as np

from bench.agents.doors.door import Door, Line, LineLost
from bench.agents.ear import Ear, Heard, listened
from bench.agents.leftovers import Holding, resident_mib
from bench.agents.server import AgentsServer
from bench.agents.tones import TONES_HZ, Sound
from orchestrator.tasks.task import Task
from streaming.config import FPS

_SETTLED_S = 0.15
_LISTENED_S = 1.0
_FADING_S = 0.12  # a report comes before the frame that fades is due
_GONE_S = 30.0
_END_S = 60.0
_LATEST = 8
_MOST_OFF_S = 0.04
_WARMING = 3
_LINE = (6, 14)
_TWO = 0.25  # of the segments have another one sent right behind them
_BURST_S, _BURST = 12.0, 0.2  # of those that are cut short are long, and were sent at once
_LENGTHS_S = (0.1, 0.3, 0.8)
_PACES = (None, None, 4.0, 1.0, 0.7)
_WAITS_S = (0.0, 0.02, 0.2, 0.4)

Report = Callable[[str], None]


class Fate(StrEnum):
    """What becomes of a segment."""

    WHOLE = "whole"
    INTERRUPTED = "interrupted"
    ORPHANED = "orphaned"  # its client dies


@dataclass(frozen=True)
class Deviation:
    """A segment whose position was told otherwise than it was heard, by more than a listener can be wrong."""

    segment: int
    fate: Fate
    pace: float | None
    told_s: float
    heard_s: float


@dataclass
class SoakFindings:
    """What was found over one door.

    `missing` and `surplus` count reports; of a segment whose client died there may be one or none. `positions` counts
    the segments whose told position was compared with the ear's, which doesn't hear `dropped_frames`: the encoder
    didn't get these. Those in whose time some of the stream never came to the ear are `unheard`, and not compared.
    """

    door: str
    segments: int = 0
    fates: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    reports: int = 0
    missing: int = 0
    surplus: int = 0
    positions: int = 0
    unheard: int = 0
    dropped_frames: int = 0
    worst_ms: float = 0.0
    deviations: list[Deviation] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SoakRecord:
    """Of all doors at once. `left` counts what there was more of at the end than after the first lines.

    `memory_growth` is the memory of this process, server and clients, in the last quarter over that in the second one.
    """

    doors: list[SoakFindings]
    left: dict[str, int]
    memory_growth: float | None


async def soak(
    server: AgentsServer, doors: Sequence[Door], segments: int, seed: int, report: Report = lambda line: None
) -> SoakRecord:
    """So many segments over each door, all doors at once, each on a channel of its own."""
    async with AsyncExitStack() as stack:
        soaks = []
        for number, door in enumerate(doors):
            channel_id = await stack.enter_async_context(_channel(server, f"soak-{number}"))
            soaks.append(_Soak(server, door, channel_id, seed + number))
        await asyncio.gather(*(each.run(_WARMING, lambda line: None) for each in soaks))
        before, memory = Holding.of(server.orchestrator), [resident_mib()]
        noting = asyncio.create_task(_note_memory(memory))
        try:
            findings = await asyncio.gather(*(each.run(segments, report) for each in soaks))
        finally:
            noting.cancel()
            await asyncio.gather(noting, return_exceptions=True)
        left = await _left(server, before)
    quarter = len(memory) // 4
    growth = float(np.mean(memory[-quarter:]) / np.mean(memory[quarter : 2 * quarter])) if quarter else None
    return SoakRecord(list(findings), left, None if growth is None else round(growth, 4))


class _Soak:
    """One door's."""

    def __init__(self, server: AgentsServer, door: Door, channel_id: str, seed: int) -> None:
        self._server = server
        self._door = door
        self._channel_id = channel_id
        self._drawn = random.Random(seed)
        self._findings = SoakFindings(door.name)

    async def run(self, segments: int, report: Report) -> SoakFindings:
        """So many segments, over lines of a few each."""
        self._findings = found = SoakFindings(self._door.name)
        while found.segments < segments:
            await self._one_line(min(self._drawn.randint(*_LINE), segments - found.segments))
            worst = f"worst {found.worst_ms:.0f} ms, {len(found.lost)} lost"
            report(f"{found.door}: {found.segments} of {segments}, {worst}")
        return found

    async def _one_line(self, segments: int) -> None:
        found = self._findings
        found.lines += 1
        dies = self._drawn.random() < 0.6
        async with (
            self._door.line(self._server, self._channel_id) as line,
            listened(self._server.orchestrator, line.channel_id) as ear,
        ):
            orphans = 0
            try:
                for number in range(segments):
                    orphans = await self._segment(line, ear, dies and number == segments - 1)
                await asyncio.sleep(_SETTLED_S)  # in which a second report of a segment would come
            except LineLost as error:
                found.lost.append(f"segment {found.segments}: {error}")
            reports = len(line.playbacks)
            found.reports += reports
            found.missing += max(0, line.sent - (0 if line.outlives else orphans) - reports)
            found.surplus += max(0, reports - line.sent)
        await self._quiet(line.channel_id)

    async def _segment(self, line: Line, ear: Ear, dies: bool) -> int:
        """One segment, or two of which the second one is sent behind the first; how many were left by their client."""
        found, drawn = self._findings, self._drawn
        two = drawn.random() < _TWO and not self._door.of_text  # a second text is a turn that ends the first
        tones = [(found.segments + number) % len(TONES_HZ) for number in range(1 + two)]
        sounds = [Sound(tone, drawn.choice(_LENGTHS_S)) for tone in tones]
        pace = drawn.choice(_PACES)
        fate = Fate.ORPHANED if dies else drawn.choice([Fate.WHOLE, Fate.INTERRUPTED])
        if fate is not Fate.WHOLE and self._door.overtakes and drawn.random() < _BURST:
            sounds, pace = [Sound(tones[0], _BURST_S)], None
        before, sent, since_s = await self._newest(line), line.sent, time.monotonic()
        told, started = len(line.playbacks), len(line.started)
        ear.forget(since_s - _SETTLED_S)
        saying = asyncio.create_task(line.say(*sounds, pace=pace))
        try:
            await line.until_sent(sent + 1)
            if fate is Fate.WHOLE:
                await saying
            else:
                if drawn.random() < 0.5:
                    await line.until_started(started + 1)
                await asyncio.sleep(drawn.choice(_WAITS_S))
                line.hush()
                await saying
                await (line.die() if fate is Fate.ORPHANED else line.interrupt())
        finally:
            line.hush()
            await asyncio.gather(saying, return_exceptions=True)
            count = line.sent - sent
            found.segments += count
            found.fates[fate] = found.fates.get(fate, 0) + count
        if fate is not Fate.ORPHANED or line.outlives:
            await line.until(told + count)
        tasks = await self._tasks_since(line, before, count)
        playbacks = line.playbacks[told : told + count]
        with suppress(TimeoutError):  # of a channel that is gone nothing more is heard
            await asyncio.wait_for(ear.until(time.monotonic() + _FADING_S), _LISTENED_S)
        for number, sound in enumerate(sounds[:count]):
            told_s, dropped = playbacks[number].heard_s if number < len(playbacks) else None, 0
            if number < len(tasks):
                dropped = tasks[number].frames_dropped
                told_s = tasks[number].frames_heard / FPS if told_s is None else told_s
            place = found.segments - count + number
            self._compare(place, ear.heard(sound.hz, since_s), sound, told_s or 0.0, dropped, fate, pace)
            if sound.seconds == _BURST_S and fate is Fate.INTERRUPTED and (told_s or 0.0) > _BURST_S / 2:
                found.lost.append(f"segment {place}: it was interrupted, and {told_s:g} s of it were said")
        return count if fate is Fate.ORPHANED else 0

    def _compare(
        self,
        segment: int,
        heard: Heard,
        sound: Sound,
        told_s: float,
        dropped: int,
        fate: Fate,
        pace: float | None,
    ) -> None:
        found = self._findings
        if heard.unheard_s:
            found.unheard += 1
            return
        told_s = min(told_s, sound.seconds)  # a text's position counts the pause behind it, too
        off_s = abs(told_s - heard.seconds - dropped / FPS)
        found.dropped_frames += dropped
        found.positions += 1
        found.worst_ms = max(found.worst_ms, round(1000 * off_s, 1))
        if off_s > _MOST_OFF_S:
            found.deviations.append(Deviation(segment, fate, pace, round(told_s, 3), round(heard.seconds, 3)))

    async def _newest(self, line: Line) -> list[Task]:
        """The last tasks of the line's channel, oldest first."""
        return list(reversed(await self._server.orchestrator.board.newest(_LATEST, line.channel_id)))

    async def _tasks_since(self, line: Line, before: list[Task], count: int) -> list[Task]:
        """Those of the segments that were just said, once they are over; fewer where some never became tasks."""
        known = {task.id for task in before}
        deadline = time.monotonic() + _END_S
        while True:
            tasks = [task for task in await self._newest(line) if task.id not in known]
            if all(task.state.final for task in tasks):
                return tasks[:count]
            if time.monotonic() > deadline:
                states = ", ".join(f"{task.state} for {task.duration_s} s of sound" for task in tasks)
                raise LineLost(f"a task is not over after {_END_S:g} s: {states}")
            await asyncio.sleep(0.02)

    async def _quiet(self, channel_id: str) -> None:
        """Wait until the line's end has no consequences any more; what doesn't end is found at the end."""
        channels = self._server.orchestrator.channels

        def is_busy() -> bool:
            if (channel := channels.get(channel_id)) is None:
                return False
            return channel_id != self._channel_id or bool(channel.active or channel.view.waiting)

        with suppress(TimeoutError):
            async with asyncio.timeout(_GONE_S):
                while is_busy():  # noqa: ASYNC110 - it runs elsewhere
                    await asyncio.sleep(0.02)


async def _left(server: AgentsServer, before: Holding) -> dict[str, int]:
    """What there is more of, once it had time to go."""
    deadline = time.monotonic() + _GONE_S
    while (left := Holding.of(server.orchestrator).beyond(before)) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    return left


async def _note_memory(memory: list[float]) -> None:
    while True:
        await asyncio.sleep(1.0)
        memory.append(resident_mib())


@asynccontextmanager
async def _channel(server: AgentsServer, name: str) -> AsyncIterator[str]:
    settings = server.orchestrator.settings
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        answer = await http.post("/v1/channels", json={"channel": name, "avatar": settings.avatar})
        answer.raise_for_status()
        try:
            yield name
        finally:
            (await http.delete(f"/v1/channels/{name}")).raise_for_status()
