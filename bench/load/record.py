"""The whole measurement: a live server, its clients for some minutes, and what it comes to."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.load.clients import Answers, Clients
from bench.load.live import live_server
from bench.load.usage import WholeServer
from bench.machine import Machine, this_machine
from bench.stream.criteria import Criterion
from bench.stream.load import LoadMeter, Sample
from bench.stream.stand_ins import as_wav, voice

_SAMPLE_S = 5.0
_MOST_GROWTH = 1.05
_LISTED = 1000
_FINAL = ("done", "failed", "cancelled")
_LATE = ("late_waits", "late_frames", "dropped_pairs", "stalls")
_TRANSIENT = ("decoders", "others")


@dataclass(frozen=True)
class LoadPlan:
    """Clients, seconds of each speech, and minutes."""

    minutes: float
    uploaders: int = 200
    pollers: int = 20
    speech_s: float = 5.0


@dataclass(frozen=True)
class LoadBench:
    """What the clients were answered, what became of what was accepted, and how the server was meanwhile.

    Seconds of an upload run from its first byte sent to the answer. Memory in MB, resident, and medians of files and
    threads, by role: first minute after the first, and last. `stream` is what the channel counted during the load.
    """

    date: str
    machine: Machine
    plan: LoadPlan
    load_average: tuple[float, float, float]
    uploads: dict[str, Any]
    polls: dict[str, Any]
    tasks: dict[str, int]
    stream: dict[str, float]
    cores: dict[str, float]
    usage: dict[str, dict[str, float]]
    memory_mb_by_minute: dict[str, list[float]]
    criteria: list[Criterion]

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return all(criterion.kept for criterion in self.criteria)

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=2)


async def bench_load(plan: LoadPlan, checkpoint_dir: Path, ffmpeg: str) -> LoadBench:
    """Runs it; raises NoRtmpServer and ServerNotReady."""
    speech = as_wav(voice(plan.speech_s, seed=1))
    with tempfile.TemporaryDirectory(prefix="latentsync-load-") as folder:
        async with live_server(Path(folder), checkpoint_dir) as server, httpx.AsyncClient(base_url=server.url) as http:
            usage, before = WholeServer(server.pid), await _stream(http)
            sampling = asyncio.create_task(_sample(usage))
            clients = Clients(server.url, speech, time.monotonic() + 60 * plan.minutes)
            try:
                await clients.run(plan.uploaders, plan.pollers)
                after = await _stream(http)
                load_average = os.getloadavg()
                tasks = await _fates(http, clients.accepted)
            finally:
                sampling.cancel()
                await asyncio.wait({sampling})
            await http.post("/v1/channels/main/interrupt", params={"queue": "true"}, timeout=60)
    stream = {name: round(after[name] - before[name], 3) for name in before}
    minutes = _minutes(usage)
    return LoadBench(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=this_machine(ffmpeg),
        plan=plan,
        load_average=load_average,
        uploads=_summary(clients.uploads),
        polls=_summary(clients.polls),
        tasks=tasks,
        stream=stream,
        cores=usage.cores(),
        usage=minutes,
        memory_mb_by_minute={role: _by_minute(samples) for role, samples in usage.samples.items()},
        criteria=_criteria(clients, tasks, stream, minutes),
    )


async def _sample(usage: LoadMeter) -> None:
    while True:
        await asyncio.to_thread(usage.sample)
        await asyncio.sleep(_SAMPLE_S)


async def _stream(http: httpx.AsyncClient) -> dict[str, float]:
    channel = (await http.get("/v1/channels/main", timeout=60)).json()
    names = (*_LATE, "frames_sent", "repeated_frames", "reconnects", "encoder_restarts")
    return {"restarts": channel["restarts"], **{name: channel["stream"][name] for name in names}}


async def _fates(http: httpx.AsyncClient, accepted: list[str]) -> dict[str, int]:
    listed = (await http.get("/v1/tasks", params={"limit": _LISTED}, timeout=60)).json()["tasks"]
    states = {task["task_id"]: task["state"] for task in listed}
    fates = [states.get(task_id, "unknown") for task_id in accepted]
    return {"accepted": len(accepted), **{state: fates.count(state) for state in sorted(set(fates))}}


def _summary(answers: Answers) -> dict[str, Any]:
    return {
        "answers": dict(sorted(answers.counts.items())),
        "seconds": {
            str(status): {
                **{f"p{share}": round(float(np.percentile(taken, share)), 4) for share in (50, 95, 99)},
                "longest": round(max(taken), 4),
            }
            for status, taken in sorted(answers.seconds.items())
        },
        "wrong": dict(answers.wrong),
        "examples": answers.examples,
    }


def _minutes(usage: LoadMeter) -> dict[str, dict[str, float]]:
    found = {}
    for role, samples in usage.samples.items():
        began, ended = samples[0].at_s, samples[-1].at_s
        second = [each for each in samples if 60 <= each.at_s - began < 120] or samples
        last = [each for each in samples if ended - each.at_s < 60]
        found[role] = {
            "memory_mb_second_minute": _median(second, "rss_bytes") / 1e6,
            "memory_mb_last_minute": _median(last, "rss_bytes") / 1e6,
            **{
                f"{name}_{minute}_minute": _median(part, name)
                for name in ("files", "threads")
                for minute, part in (("second", second), ("last", last))
            },
        }
    return {role: {name: round(value, 1) for name, value in values.items()} for role, values in found.items()}


def _by_minute(samples: list[Sample]) -> list[float]:
    minutes: dict[int, list[Sample]] = {}
    for sample in samples:
        minutes.setdefault(int((sample.at_s - samples[0].at_s) // 60), []).append(sample)
    return [round(_median(part, "rss_bytes") / 1e6, 1) for _, part in sorted(minutes.items())]


def _median(samples: list[Sample], name: str) -> float:
    return float(np.median([getattr(sample, name) for sample in samples]))


def _criteria(
    clients: Clients, tasks: dict[str, int], stream: dict[str, float], usage: dict[str, dict[str, float]]
) -> list[Criterion]:
    wrong = sum(clients.uploads.wrong.values()) + sum(clients.polls.wrong.values())
    growth = {
        role: values["memory_mb_last_minute"] / values["memory_mb_second_minute"]
        for role, values in usage.items()
        if role not in _TRANSIENT
    }
    lost = tasks.get("failed", 0) + tasks.get("unknown", 0)
    return [
        Criterion("answers_beyond_200_429_503", wrong, "0", wrong == 0),
        Criterion("accepted_tasks_failed_or_unknown", lost, "0", lost == 0),
        *(Criterion(name, stream[name], "0", stream[name] == 0) for name in (*_LATE, "restarts", "reconnects")),
        *(
            Criterion(
                f"memory_{role}_last_over_second_minute", round(each, 3), f"≤ {_MOST_GROWTH}", each <= _MOST_GROWTH
            )
            for role, each in sorted(growth.items())
        ),
    ]
