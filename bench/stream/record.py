"""`bench stream`: runs the scenario, judges what was received, and says whether the channel keeps its promises."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import Machine, this_machine
from bench.stream.criteria import Criterion, fault_criteria, load_criteria, stream_criteria
from bench.stream.findings import ChannelFindings, find, ordered
from bench.stream.load import LoadMeter, Sample
from bench.stream.plan import Plan
from bench.stream.reading import PartReading, read_part
from bench.stream.receiver import Part, Receiver
from bench.stream.scenario import Run, StreamScenario

_ROLL_S = 600.0
_LONG_RUN_S = 1500.0  # from here on parts are read and deleted while the run goes on
_STAND_IN = (
    "No network is run: a stand-in paints the number of its speech and frame on each face, at a fixed rate. HTTP, task "
    "store, channel processes, paste-back, ffmpeg and nginx-rtmp are the product's own or real."
)


@dataclass(frozen=True)
class StreamBench:
    """One measured run. `cores` are processor seconds a second by role; memory is resident, of a role's processes."""

    date: str
    machine: Machine
    generator: str
    plan: Plan
    elapsed_s: float
    load_average: tuple[float, float, float]
    faults: list[dict[str, Any]]
    refusals: int
    request_failures: list[str]
    tasks: dict[str, int]
    channels: list[ChannelFindings]
    counters: list[dict[str, Any]]
    cores: dict[str, float]
    memory_mb: dict[str, dict[str, float]]
    files_and_threads: dict[str, dict[str, float]]
    criteria: list[Criterion]

    @property
    def kept(self) -> bool:
        """True when every promise was kept."""
        return all(criterion.kept for criterion in self.criteria)

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=2)


async def bench_stream(
    plan: Plan, clip: Path, checkpoint_dir: Path, ffmpeg: str, keep: Path | None = None
) -> StreamBench:
    """Runs a plan and judges it; `keep` is a folder in which the received parts stay.

    Raises NoRtmpServer, VideoError, UnreadablePart.
    """
    with tempfile.TemporaryDirectory(prefix="latentsync-bench-", dir=keep) as temporary:
        folder = Path(temporary)
        scenario = StreamScenario(plan, clip, folder, checkpoint_dir, ffmpeg)
        long = plan.duration_s > _LONG_RUN_S
        running = asyncio.create_task(scenario.run(_ROLL_S if long else float("inf")))
        readings: list[list[PartReading]] = [[] for _ in range(plan.channels)]
        while long and not running.done():
            await asyncio.wait({running}, timeout=30)
            await _read_finished(scenario.receivers, readings, plan, ffmpeg)
        run = await running
        await _read_finished(scenario.receivers, readings, plan, ffmpeg, keep)
        channels = [
            find(readings[number], ordered(run.said, number), run.faults, plan.mouth_fade_frames)
            for number in range(plan.channels)
        ]
    return _record(run, channels, ffmpeg)


async def _read_finished(
    receivers: list[Receiver],
    readings: list[list[PartReading]],
    plan: Plan,
    ffmpeg: str,
    keep: Path | None = None,
) -> None:
    for number, receiver in enumerate(receivers):
        for part in receiver.take_finished():
            reading = await asyncio.to_thread(_read_and_remove, part, plan, ffmpeg, keep, number)
            readings[number].append(reading)


def _read_and_remove(part: Part, plan: Plan, ffmpeg: str, keep: Path | None, number: int) -> PartReading:
    reading = read_part(part, plan.size, ffmpeg)
    if keep is None:
        part.path.unlink()
    else:
        part.path.replace(keep / f"channel-{number}-{part.path.name}")
    return reading


def _record(run: Run, channels: list[ChannelFindings], ffmpeg: str) -> StreamBench:
    states = [said.state for said in run.said]
    memory, handles = _memory(run.load), _handles(run.load)
    cores = run.load.cores()
    criteria = [
        *stream_criteria(run, channels),
        *fault_criteria(run, channels),
        *load_criteria(run.plan, memory, handles, cores),
    ]
    return StreamBench(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=this_machine(ffmpeg),
        generator=_STAND_IN,
        plan=run.plan,
        elapsed_s=round(run.ended - run.began, 1),
        load_average=os.getloadavg(),
        faults=[
            {
                "kind": fault.kind,
                "at_s": round(fault.at - run.began, 1),
                "lasted_s": round(fault.back_at - fault.at, 1),
                "speech": fault.speech,
            }
            for fault in run.faults
        ],
        refusals=run.refusals,
        request_failures=run.request_failures,
        tasks={"accepted": len(states), **{state: states.count(state) for state in sorted(set(states))}},
        channels=channels,
        counters=[{"restarts": status["restarts"], **(status["stream"] or {})} for status in run.statuses],
        cores=cores,
        memory_mb=memory,
        files_and_threads=handles,
        criteria=criteria,
    )


def _memory(load: LoadMeter) -> dict[str, dict[str, float]]:
    return {
        role: {
            "second_minute": round(float(np.mean([s.rss_bytes for s in second])) / 1e6, 1),
            "last_minute": round(float(np.mean([s.rss_bytes for s in last])) / 1e6, 1),
        }
        for role, second, last in _minutes(load)
    }


def _handles(load: LoadMeter) -> dict[str, dict[str, float]]:
    return {
        role: {
            f"{name}_{minute}": float(np.median([getattr(sample, name) for sample in samples]))
            for name in ("files", "threads")
            for minute, samples in (("second", second), ("last", last))
        }
        for role, second, last in _minutes(load)
    }


def _minutes(load: LoadMeter) -> list[tuple[str, list[Sample], list[Sample]]]:
    """Each role's samples of the second and of the last minute; of a run of less than three minutes nothing."""
    found = []
    for role, samples in sorted(load.samples.items()):
        begin, end = samples[0].at_s, samples[-1].at_s
        second = [sample for sample in samples if 60 <= sample.at_s - begin < 120]
        last = [sample for sample in samples if end - sample.at_s < 60]
        if second and last and end - begin > 180:
            found.append((role, second, last))
    return found
