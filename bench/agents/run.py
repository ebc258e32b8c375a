"""The measurement: every door with clients that come and go, and how soon each sounds beside the plain socket."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.agents.doors.door import Door
from bench.agents.doors.every import every_door
from bench.agents.doors.speech import SpeechDoor
from bench.agents.doors.talking import ConversationDoor, RealtimeDoor
from bench.agents.latency import DoorDelays, door_delays
from bench.agents.server import agents_server
from bench.agents.soak import SoakRecord, soak
from bench.machine import Machine, this_machine
from bench.stream.criteria import Criterion
from orchestrator.settings import Settings
from speech.audio.decoder import ffmpeg_binary

_MOST_MORE_MS, _MOST_SILENCE_MS, _MOST_OFF_MS, _MOST_GROWTH = 60.0, 200.0, 40.0, 1.05

Report = Callable[[str], None]


@dataclass(frozen=True)
class AgentsPlan:
    """How much is measured; a number of 0 leaves that part out."""

    repeats: int
    segments: int
    seed: int


@dataclass(frozen=True)
class AgentsRecord:
    """What was found. `load_1min` is the machine's load average at the end."""

    date: str
    machine: Machine
    plan: AgentsPlan
    load_1min: float
    delays: list[DoorDelays]
    soak: SoakRecord | None
    criteria: list[Criterion]

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=2)


async def bench_agents(settings: Settings, plan: AgentsPlan, report: Report) -> AgentsRecord:
    """Measure all of a plan over the doors whose clients are installed; raises LineLost."""
    ffmpeg = str(settings.ffmpeg or ffmpeg_binary())
    doors, delays, soaked = every_door(), [], None
    report(f"the doors: {', '.join(door.name for door in doors)}")
    with tempfile.TemporaryDirectory(prefix="latentsync-agents-") as name:
        async with agents_server(Path(name), settings.checkpoint_dir, ffmpeg) as server:
            main = server.orchestrator.settings.channel_id
            for door in doors if plan.repeats else ():
                talks = isinstance(door, RealtimeDoor)  # one conversation is held on a channel at a time
                delays.append(await door_delays(server, main, door, _plain(door), plan.repeats, not talks, report))
            if plan.segments:
                soaked = await soak(server, doors, plan.segments, plan.seed, report)
    return AgentsRecord(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=this_machine(ffmpeg),
        plan=plan,
        load_1min=os.getloadavg()[0],
        delays=delays,
        soak=soaked,
        criteria=[*_criteria_of_delays(delays), *(_criteria_of_soak(soaked) if soaked is not None else ())],
    )


def _plain(door: Door) -> Door:
    if isinstance(door, RealtimeDoor):
        return ConversationDoor()
    return SpeechDoor(of_text=door.of_text)


def _criteria_of_delays(delays: list[DoorDelays]) -> list[Criterion]:
    found = []
    for each in delays:
        for what in ("sound", "report"):
            of_door, of_plain = getattr(each.delays, what), getattr(each.plain, what)
            more = round(of_door.p50 - of_plain.p50, 1)
            name = f"{each.door}: first {what} beyond the {each.beside}'s, median, ms"
            found.append(Criterion(name, more, f"≤ {_MOST_MORE_MS:g}", more <= _MOST_MORE_MS))
        silence = each.delays.silence.p95
        name = f"{each.door}: interruption to silence at the encoder, p95, ms"
        found.append(Criterion(name, silence, f"≤ {_MOST_SILENCE_MS:g}", silence <= _MOST_SILENCE_MS))
    return found


def _criteria_of_soak(soaked: SoakRecord) -> list[Criterion]:
    found = []
    for door in soaked.doors:
        wrong = float(door.missing + door.surplus + len(door.lost))
        found.append(Criterion(f"{door.door}: reports missing, surplus or wrong", wrong, "0", not wrong))
        allowed = f"≤ {_MOST_OFF_MS:g}"
        found.append(
            Criterion(f"{door.door}: worst position, ms", door.worst_ms, allowed, door.worst_ms <= _MOST_OFF_MS)
        )
    left = float(sum(soaked.left.values()))
    found.append(Criterion("things left over", left, "0", not left))
    growth = soaked.memory_growth
    if growth is not None:
        found.append(
            Criterion("memory, last quarter over the second", growth, f"≤ {_MOST_GROWTH:g}", growth <= _MOST_GROWTH)
        )
    return found
