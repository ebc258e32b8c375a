"""The measurement: one session's channel, spoken on by turns over its own socket and over the plain one."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from bench.load.live import LiveServer, demo_server, free_ports
from bench.machine import Machine, this_machine
from bench.speech_latency.clients import SpeechFailed
from bench.stream.criteria import Criterion
from bench.stream.receiver import Receiver
from bench.stream.stand_ins import voice
from orchestrator.settings import Settings
from speech.audio.decoder import ffmpeg_binary

_RATE_HZ = 24_000
_SPEECH_S = 2.0
_BLOCK_S = 0.5
_SETTLED_S = 1.2
_SESSION_S = 30.0
_MOST_MORE_MS = 60.0

Report = Callable[[str], None]


@dataclass(frozen=True)
class Door:
    """One way to speak: milliseconds from its first sound to the report that it is heard, in order."""

    name: str
    reported_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """Of all its segments."""
        return statistics.median(self.reported_ms)


@dataclass(frozen=True)
class AgentsRecord:
    """What was found. `load_1min` is the machine's load average at the end."""

    date: str
    machine: Machine
    checkpoint: str
    repeats: int
    load_1min: float
    doors: list[Door]
    median_ms: dict[str, float]
    p95_ms: dict[str, float]
    criteria: list[Criterion]

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=2)


async def bench_agents(settings: Settings, repeats: int, report: Report) -> AgentsRecord:
    """Measure so many segments over each door; raises ServerNotReady and SpeechFailed."""
    ffmpeg = str(settings.ffmpeg or ffmpeg_binary())
    report("starting the server …")
    with tempfile.TemporaryDirectory(prefix="latentsync-agents-") as name:
        folder = Path(name)
        address = f"rtmp://127.0.0.1:{free_ports(1)[0]}/live/main"
        receiver = Receiver(address, folder / "viewer", ffmpeg, listens=True)
        try:
            async with demo_server(folder, settings.checkpoint_dir, folder / "var", address) as server:
                doors = await _by_turns(server, settings.avatar, repeats, report)
        finally:
            await asyncio.to_thread(receiver.close)
    return _record(doors, this_machine(ffmpeg), settings.checkpoint_dir.name, repeats)


def _record(doors: list[Door], machine: Machine, checkpoint: str, repeats: int) -> AgentsRecord:
    plain, session = doors
    more_ms = round(session.median_ms - plain.median_ms, 1)
    name = "session_socket_beyond_the_plain_one_ms"
    return AgentsRecord(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        checkpoint=checkpoint,
        repeats=repeats,
        load_1min=os.getloadavg()[0],
        doors=doors,
        median_ms={door.name: round(door.median_ms, 1) for door in doors},
        p95_ms={door.name: round(float(np.percentile(door.reported_ms, 95)), 1) for door in doors},
        criteria=[Criterion(name, more_ms, f"≤ {_MOST_MORE_MS:g}", more_ms <= _MOST_MORE_MS)],
    )


async def _by_turns(server: LiveServer, avatar: str, repeats: int, report: Report) -> list[Door]:
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        token = (await http.post("/v1/sessions/token", json={"mode": "LITE", "avatar_id": avatar})).json()
        headers = {"Authorization": f"Bearer {token['data']['session_token']}"}
        started: dict[str, Any] = (await http.post("/v1/sessions/start", headers=headers)).json()["data"]
        async with asyncio.timeout(_SESSION_S):
            while (await http.get(f"/v1/channels/{started['channel']}")).json()["stream"] is None:  # noqa: ASYNC110 - it runs elsewhere
                await asyncio.sleep(0.2)
    plain_url = f"{server.url.replace('http', 'ws', 1)}/v1/channels/{started['channel']}/speech"
    plain_ms, session_ms = [], []
    async with connect(plain_url) as plain, connect(started["ws_url"]) as session:
        await _segment(plain, _plain_messages(), "started", "ended")  # by which the server learns its pace
        for number in range(repeats):
            plain_ms.append(await _segment(plain, _plain_messages(), "started", "ended"))
            session_ms.append(await _segment(session, _session_messages(), "agent.speak_started", "agent.speak_ended"))
            report(f"{number + 1} of {repeats}: plain {plain_ms[-1]:.0f} ms, session {session_ms[-1]:.0f} ms")
    return [Door("speech", tuple(plain_ms)), Door("session", tuple(session_ms))]


async def _segment(socket: ClientConnection, messages: list[str | bytes], begins: str, ends: str) -> float:
    """Milliseconds until it was told to be heard; returns once it is over, and the channel has settled."""
    asked_at = time.monotonic()
    for message in messages:
        await socket.send(message)
    reported_at: float | None = None
    async for text in socket:
        event = json.loads(text)
        if event["type"] == "error":
            raise SpeechFailed(str(event))
        if event["type"] == begins and reported_at is None:
            reported_at = time.monotonic()
        if event["type"] == ends and reported_at is not None:
            await asyncio.sleep(_SETTLED_S)
            return 1000 * (reported_at - asked_at)
    raise SpeechFailed("the server closed the socket before the speech had ended")


def _blocks() -> list[bytes]:
    speech = voice(_SPEECH_S, seed=1)[:: 48_000 // _RATE_HZ].astype("<i2")
    size = round(_BLOCK_S * _RATE_HZ)
    return [speech[first : first + size].tobytes() for first in range(0, len(speech), size)]


def _plain_messages() -> list[str | bytes]:
    start = json.dumps({"type": "start", "sample_rate": _RATE_HZ, "channels": 1})
    return [start, *_blocks(), json.dumps({"type": "end"})]


def _session_messages() -> list[str | bytes]:
    blocks = (base64.b64encode(block).decode() for block in _blocks())
    return [*(json.dumps({"type": "agent.speak", "audio": block}) for block in blocks), '{"type": "agent.speak_end"}']
