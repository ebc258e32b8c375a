"""The measured run: a whole server with its channels, speeches at their times, interrupts and faults."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio

from bench.rtmp_server import RtmpServer
from bench.stream.findings import Fault, Said
from bench.stream.load import LoadMeter
from bench.stream.receiver import Receiver
from bench.stream.stand_ins import NumberedModels, as_wav, numbered_avatar, voice
from orchestrator.orchestrator import Orchestrator
from orchestrator.server import OrchestratorServer
from orchestrator.settings import load_settings

_FIRST_AT_S, _LAST_BEFORE_S = 8.0, 25.0
_LENGTHS_S = (3.0, 6.0, 2.0, 9.0, 4.0, 12.0, 5.0)
_LONG_S = 10.0
_LATE_FRAME, _LATE_BY_S = 96, 6.0
_INTERRUPT_AFTER_S = 2.0
_TAIL_S = 4.0
_SAMPLE_S = 5.0
_POOL_THREADS = 64
_FINAL = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Plan:
    """What is to be run. `rate` is the frames/s that the stand-in for the models makes, for all channels together."""

    duration_s: float
    size: tuple[int, int]
    channels: int = 1
    speeches: int = 20
    interrupts: int = 3
    late_chunks: int = 2
    server_restarts: int = 2
    encoder_kills: int = 1
    rate: float = 100.0
    fade_frames: int = 5
    video_bitrate_kbps: int = 2500
    x264_preset: str = "veryfast"


@dataclass(frozen=True)
class Run:
    """What happened, for the findings; receivers by channel."""

    plan: Plan
    said: list[Said]
    faults: list[Fault]
    load: LoadMeter
    statuses: list[dict[str, Any]]
    began: float
    ended: float


class StreamScenario:
    """Runs a plan once. Everything is real but the models: HTTP, store, channel processes, ffmpeg, nginx-rtmp."""

    def __init__(self, plan: Plan, clip: Path, folder: Path, checkpoint_dir: Path, ffmpeg: str) -> None:
        self._plan = plan
        self._clip = clip
        self._folder = folder
        self._checkpoint_dir = checkpoint_dir
        self._ffmpeg = ffmpeg
        self._said: list[Said] = []
        self._faults: list[Fault] = []
        self._url = ""
        self.receivers: list[Receiver] = []

    async def run(self, roll_s: float = float("inf")) -> Run:
        """Returns when all is said; the receivers are closed and hold what came. Raises NoRtmpServer, and OSError."""
        plan = self._plan
        rtmp = await asyncio.to_thread(RtmpServer, self._folder / "nginx")
        try:
            async with self._server(rtmp) as orchestrator:
                # This client shares the server's pool of threads, which grows with what is asked of it at once.
                await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.1) for _ in range(_POOL_THREADS)))
                load, began = LoadMeter(os.getpid()), time.monotonic()
                for channel in range(plan.channels):
                    folder = self._folder / f"received-{channel}"
                    self.receivers.append(Receiver(rtmp.url(f"bench{channel}"), folder, self._ffmpeg, roll_s))
                try:
                    sampling = asyncio.create_task(_sample(load))
                    await asyncio.gather(self._speak(began), self._break(rtmp, load, began), _sleep_until(began, plan))
                    sampling.cancel()
                    await asyncio.gather(sampling, return_exceptions=True)
                    load.sample()
                    await asyncio.sleep(_TAIL_S)
                    statuses = [dict(channel.view.as_json()) for channel in orchestrator.channels.values()]
                finally:
                    for receiver in self.receivers:
                        await asyncio.to_thread(receiver.close)
                return Run(plan, self._said, self._faults, load, statuses, began, time.monotonic())
        finally:
            await asyncio.to_thread(rtmp.stop)

    @asynccontextmanager
    async def _server(self, rtmp: RtmpServer) -> AsyncIterator[Orchestrator]:
        plan = self._plan
        settings = load_settings(
            data_dir=self._folder / "var",
            checkpoint_dir=self._checkpoint_dir,
            http_port=_free_port(),
            channel_id="bench0",
            avatar="bench",
            rtmp_url=rtmp.url("bench0"),
            fade_frames=plan.fade_frames,
            video_bitrate_kbps=plan.video_bitrate_kbps,
            x264_preset=plan.x264_preset,
            ffmpeg=Path(self._ffmpeg),
            queue_limit=200,
        )
        await asyncio.to_thread(numbered_avatar, self._clip, settings.avatars_dir / "bench", plan.size)
        models = NumberedModels(plan.speeches, plan.rate, self._late_chunks())
        orchestrator = Orchestrator(settings, client=models, test_pattern=True)  # type: ignore[arg-type]  # stands in for it
        started = asyncio.Event()
        server = OrchestratorServer(orchestrator, started.set)
        serving = asyncio.create_task(server.serve())
        self._url = f"http://{settings.http_host}:{settings.http_port}"
        try:
            await asyncio.wait_for(started.wait(), 20)
            for number in range(1, plan.channels):
                body = {"channel": f"bench{number}", "avatar": "bench", "targets": [rtmp.url(f"bench{number}")]}
                await self._request("POST", "/v1/channels", json.dumps(body).encode(), "application/json")
            for number in range(plan.channels):
                await self._on_air(number)
            yield orchestrator
        finally:
            server.stop()
            await serving

    async def _on_air(self, number: int) -> None:
        for _ in range(150):
            stream = (await self._request("GET", f"/v1/channels/bench{number}"))["stream"]
            if stream and stream["publisher"] == "on_air":
                return
            await asyncio.sleep(0.2)
        raise TimeoutError(f"channel bench{number} is not on the air after 30 s")

    def _late_chunks(self) -> dict[int, tuple[int, float]]:
        return dict.fromkeys(self._chosen(self._plan.late_chunks, 0.25), (_LATE_FRAME, _LATE_BY_S))

    def _chosen(self, count: int, offset: float) -> list[int]:
        """`count` speeches spread over all; `offset` keeps two choices apart."""
        speeches = self._plan.speeches
        return [min(speeches, 1 + int((index + offset) * speeches / count)) for index in range(count)]

    async def _speak(self, began: float) -> None:
        plan = self._plan
        late, interrupted = self._late_chunks(), self._chosen(plan.interrupts, 0.7) if plan.interrupts else []
        spacing = (plan.duration_s - _FIRST_AT_S - _LAST_BEFORE_S) / plan.speeches
        async with anyio.create_task_group() as group:
            for number in range(1, plan.speeches + 1):
                # Every fifth comes together with the one before it, and has to wait for its turn.
                place = number - 2 if number % 5 == 0 else number - 1
                await _sleep_to(began + _FIRST_AT_S + place * spacing)
                special = number in late or number in interrupted
                seconds = _LONG_S if special else _LENGTHS_S[number % len(_LENGTHS_S)]
                channel = (number - 1) % plan.channels
                task_id = await self._submit(number, channel, seconds)
                group.start_soon(self._follow, number, channel, seconds, task_id, number in late, number in interrupted)

    async def _submit(self, number: int, channel: int, seconds: float) -> str:
        boundary = uuid.uuid4().hex
        fields = {"seed": str(number), "channel": f"bench{channel}"}
        body = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        )
        wav = as_wav(voice(seconds, number))
        disposition = 'Content-Disposition: form-data; name="audio_file"; filename="speech.wav"'
        body += f"--{boundary}\r\n{disposition}\r\n\r\n".encode() + wav + f"\r\n--{boundary}--\r\n".encode()
        answer = await self._request("POST", "/generate_video", body, f"multipart/form-data; boundary={boundary}")
        return str(answer["task_id"])

    async def _follow(
        self, number: int, channel: int, seconds: float, task_id: str, late: bool, interrupt: bool
    ) -> None:
        interrupted_at = None
        while True:
            task = await self._request("GET", f"/v1/tasks/{task_id}")
            if interrupt and task["state"] == "streaming" and interrupted_at is None:
                await asyncio.sleep(_INTERRUPT_AFTER_S)
                interrupted_at = time.monotonic()
                await self._request("POST", f"/v1/channels/bench{channel}/interrupt", b"")
            if task["state"] in _FINAL:
                break
            await asyncio.sleep(0.25)
        said = Said(number, channel, seconds, task["frames"]["total"], task["state"], late, interrupted_at)
        self._said.append(said)

    async def _break(self, rtmp: RtmpServer, load: LoadMeter, began: float) -> None:
        plan = self._plan
        faults = [("server", (k + 1) / (plan.server_restarts + 1) - 0.03, k) for k in range(plan.server_restarts)]
        faults += [("encoder", (k + 0.45) / plan.encoder_kills, k) for k in range(plan.encoder_kills)]
        for kind, share, number in sorted(faults, key=lambda fault: fault[1]):
            await _sleep_to(began + share * plan.duration_s)
            at = time.monotonic()
            if kind == "server":
                await asyncio.to_thread(rtmp.stop)
                await asyncio.sleep(3.0 + 12.0 * number)  # a short outage, then a longer one
                await asyncio.to_thread(rtmp.start)
            else:
                encoders = [pid for role, pid in load.processes() if role == "encoder"]
                os.kill(encoders[0], signal.SIGKILL)
            self._faults.append(Fault(kind, at, time.monotonic()))

    async def _request(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> dict[str, Any]:
        request = urllib.request.Request(self._url + path, body, {"Content-Type": kind} if kind else {}, method=method)

        def send() -> dict[str, Any]:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return dict(json.load(answer))

        return await asyncio.to_thread(send)


def ordered(said: list[Said], channel: int) -> list[Said]:
    """What was said on a channel, in the order of acceptance."""
    return sorted((replace(each) for each in said if each.channel == channel), key=lambda each: each.number)


async def _sample(load: LoadMeter) -> None:
    while True:
        await asyncio.to_thread(load.sample)
        await asyncio.sleep(_SAMPLE_S)


async def _sleep_until(began: float, plan: Plan) -> None:
    await _sleep_to(began + plan.duration_s)


async def _sleep_to(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
