"""How soon a segment sounds at the encoder, and how soon it is silent again, over a door and over the plain socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bench.agents.doors.door import Door, Line, LineLost
from bench.agents.ear import Ear, listened
from bench.agents.server import AgentsServer
from bench.agents.tones import TONES_HZ, Sound

_SPEECH_S = 6.0
_HEARD_S = 0.5
_FIRST_S = 20.0
_SETTLED_S = 0.4
_BLOCKS = 5
_WARMING = 2

Report = Callable[[str], None]


@dataclass
class Spread:
    """Milliseconds, in the order in which they were measured, with their median and 95th percentile."""

    ms: list[float] = field(default_factory=list)
    p50: float = 0.0
    p95: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.ms.append(round(1000 * seconds, 1))
        self.p50, self.p95 = (round(float(np.percentile(self.ms, share)), 1) for share in (50, 95))


@dataclass
class Delays:
    """From a segment's first byte to its first sound, and to the report of that; from an interruption to silence."""

    sound: Spread = field(default_factory=Spread)
    report: Spread = field(default_factory=Spread)
    silence: Spread = field(default_factory=Spread)


@dataclass(frozen=True)
class DoorDelays:
    """One door beside the one that it is compared with, by turns on one channel."""

    door: str
    beside: str
    delays: Delays
    plain: Delays


async def door_delays(
    server: AgentsServer, channel_id: str, door: Door, plain: Door, repeats: int, at_once: bool, report: Report
) -> DoorDelays:
    """So many segments over each of the two. Where both can't be open `at_once`, they take turns of a few segments.

    Raises LineLost.
    """
    found = DoorDelays(door.name, plain.name, Delays(), Delays())
    pairs = ((door, found.delays), (plain, found.plain))
    if at_once:
        async with (
            door.line(server, channel_id) as line,
            plain.line(server, line.channel_id) as beside,
            listened(server.orchestrator, line.channel_id) as ear,
        ):
            for turn in range(-_WARMING, repeats):
                for each, delays in ((line, found.delays), (beside, found.plain)):
                    await _segment(each, ear, delays if turn >= 0 else Delays())
    else:
        async with listened(server.orchestrator, channel_id) as ear:
            for counts in _turns(repeats):
                for each_door, delays in pairs:
                    async with each_door.line(server, channel_id) as line:
                        await _segment(line, ear, Delays())
                        for _ in range(counts):
                            await _segment(line, ear, delays)
    sounds = f"{found.delays.sound.p50:.0f} ms, plain {found.plain.sound.p50:.0f} ms"
    report(f"{door.name}: first sound {sounds}; silence {found.delays.silence.p95:.0f} ms")
    return found


def _turns(repeats: int) -> list[int]:
    """How many segments each block has."""
    return [len(part) for part in np.array_split(np.arange(repeats), min(repeats, _BLOCKS))]


async def _segment(line: Line, ear: Ear, delays: Delays) -> None:
    """A long segment, sent at once and interrupted after half a second of it."""
    sound = Sound(line.sent % len(TONES_HZ), _SPEECH_S)
    told, started, began_s = len(line.playbacks), len(line.started), time.monotonic()
    ear.forget(began_s - _SETTLED_S)
    saying = asyncio.create_task(line.say(sound))
    try:
        first_s = await _first_sound(ear, sound, began_s)
        await line.until_started(started + 1)
        await asyncio.sleep(max(0.0, first_s + _HEARD_S - time.monotonic()))
        line.hush()
        await saying
        interrupted_s = time.monotonic()
        await line.interrupt()
        await line.until(told + 1)
    finally:
        line.hush()
        await asyncio.gather(saying, return_exceptions=True)
    await asyncio.sleep(_SETTLED_S)
    await ear.until(time.monotonic())
    last_s = ear.heard(sound.hz, began_s).last_s
    delays.sound.add(first_s - began_s)
    delays.report.add(line.started[started] - began_s)
    delays.silence.add((last_s or interrupted_s) - interrupted_s)


async def _first_sound(ear: Ear, sound: Sound, since_s: float) -> float:
    try:
        async with asyncio.timeout(_FIRST_S):
            while (first_s := ear.heard(sound.hz, since_s).first_s) is None:
                await ear.until(time.monotonic())
    except TimeoutError:
        raise LineLost(f"nothing was heard of a segment within {_FIRST_S:g} s") from None
    return first_s
