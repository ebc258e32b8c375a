"""The measured run: a whole server with its channels, speeches at their times, interrupts and faults."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio

from bench.rtmp_server import RtmpServer
from bench.stream.client import StreamClient
from bench.stream.faults import FaultInjector
from bench.stream.findings import Fault, Said
from bench.stream.load import LoadMeter
from bench.stream.measured_server import MeasuredServer, ModelsPlan, measured_server
from bench.stream.plan import RESTARTING, FaultKind, Plan, planned_faults
from bench.stream.receiver import Receiver
from bench.stream.stand_ins import as_wav, numbered_avatar, voice
from orchestrator.settings import load_settings

_FIRST_AT_S, _LAST_BEFORE_S = 8.0, 25.0
_LENGTHS_S = (3.0, 6.0, 2.0, 9.0, 4.0, 12.0, 5.0)
_LONG_S = 10.0
_LATE_FRAME, _LATE_BY_S = 96, 6.0
_INTERRUPT_AFTER_S = 2.0
_SPEECH_COMES_S = 60.0
_INTO_SPEECH_S = 1.0
_TAIL_S = 4.0
_SAMPLE_S = 5.0
_CUTTING = (*RESTARTING, FaultKind.INTERRUPT)
_FINAL = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Run:
    """What happened, for the findings; receivers by channel."""

    plan: Plan
    said: list[Said]
    faults: list[Fault]
    refusals: int
    request_failures: list[str]
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
        self._client = StreamClient("")
        self._playing: dict[int, tuple[int, str]] = {}  # by channel: a speech's number and the id of its task
        self._speaking = asyncio.Event()  # on the first channel, where faults strike
        self._interrupted: dict[int, float] = {}
        self._lives: dict[int, tuple[float, float]] = {}  # by speech: when it was accepted, and when it was over
        self._store = folder
        self.receivers: list[Receiver] = []

    async def run(self, roll_s: float = float("inf")) -> Run:
        """Returns when all is said; the receivers are closed and hold what came. Raises NoRtmpServer, and OSError."""
        plan = self._plan
        rtmp = await asyncio.to_thread(RtmpServer, self._folder / "nginx")
        try:
            async with self._server(rtmp) as server:
                load, began = LoadMeter(server.pid), time.monotonic()
                for channel in range(plan.channels):
                    folder = self._folder / f"received-{channel}"
                    self.receivers.append(Receiver(rtmp.url(f"bench{channel}"), folder, self._ffmpeg, roll_s))
                try:
                    sampling = asyncio.create_task(_sample(load))
                    injector = self._injector(rtmp, load, server)
                    await asyncio.gather(self._speak(began), self._break(injector, began), _sleep_until(began, plan))
                    sampling.cancel()
                    await asyncio.gather(sampling, return_exceptions=True)
                    load.sample()
                    await asyncio.sleep(_TAIL_S)
                    statuses = (await self._client.get("/v1/channels"))["channels"]
                finally:
                    for receiver in self.receivers:
                        await asyncio.to_thread(receiver.close)
                ended, client = time.monotonic(), self._client
                said = [self._with_waits(each) for each in self._said]
                return Run(plan, said, self._faults, client.refusals, client.failures, load, statuses, began, ended)
        finally:
            await asyncio.to_thread(rtmp.stop)

    @asynccontextmanager
    async def _server(self, rtmp: RtmpServer) -> AsyncIterator[MeasuredServer]:
        plan = self._plan
        values = {
            "data_dir": str(self._folder / "var"),
            "checkpoint_dir": str(self._checkpoint_dir),
            "http_port": _free_port(),
            "channel_id": "bench0",
            "avatar": "bench",
            "rtmp_url": rtmp.url("bench0"),
            "mouth_fade_frames": plan.mouth_fade_frames,
            "video_bitrate_kbps": plan.video_bitrate_kbps,
            "x264_preset": plan.x264_preset,
            "ffmpeg": self._ffmpeg,
            "queue_limit": 200,
        }
        settings = load_settings(**values)
        await asyncio.to_thread(numbered_avatar, self._clip, settings.avatars_dir / "bench", plan.size)
        late = [(speech, frame, seconds) for speech, (frame, seconds) in self._late_chunks().items()]
        async with measured_server(values, ModelsPlan(plan.speeches, plan.rate, late)) as server:
            self._client = StreamClient(f"http://{settings.http_host}:{settings.http_port}")
            self._store = settings.tasks_dir / "tasks.sqlite3"
            for number in range(1, plan.channels):
                body = {"channel": f"bench{number}", "avatar": "bench", "targets": [rtmp.url(f"bench{number}")]}
                await self._client.post("/v1/channels", body)
            for number in range(plan.channels):
                await self._on_air(number)
            yield server

    async def _on_air(self, number: int) -> None:
        for _ in range(150):
            stream = (await self._client.get(f"/v1/channels/bench{number}"))["stream"]
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
                # Every fifth comes together with the one before it, and has to wait in the queue.
                place = number - 2 if number % 5 == 0 else number - 1
                await _sleep_to(began + _FIRST_AT_S + place * spacing)
                special = number in late or number in interrupted
                seconds = _LONG_S if special else _LENGTHS_S[number % len(_LENGTHS_S)]
                channel = (number - 1) % plan.channels
                task_id = await self._submit(number, channel, seconds)
                group.start_soon(self._follow, number, channel, seconds, task_id, number in late, number in interrupted)

    async def _submit(self, number: int, channel: int, seconds: float) -> str:
        fields = {"seed": str(number), "channel": f"bench{channel}"}
        return await self._client.submit(fields, as_wav(voice(seconds, number)))

    async def _follow(
        self, number: int, channel: int, seconds: float, task_id: str, late: bool, interrupt: bool
    ) -> None:
        began = time.monotonic()
        while True:
            task = await self._client.get(f"/v1/tasks/{task_id}")
            if task["state"] == "streaming":
                self._plays(channel, (number, task_id))
                if interrupt and number not in self._interrupted:
                    await asyncio.sleep(_INTERRUPT_AFTER_S)
                    await self._interrupt(channel)
            elif self._playing.get(channel) == (number, task_id):
                self._plays(channel, None)
            if task["state"] in _FINAL:
                break
            await asyncio.sleep(0.25)
        self._lives[number] = (began, time.monotonic())
        frames, state = task["frames"]["total"], task["state"]
        self._said.append(Said(number, channel, seconds, frames, state, late, False, self._interrupted.get(number)))

    def _plays(self, channel: int, speech: tuple[int, str] | None) -> None:
        if speech is None:
            del self._playing[channel]
        else:
            self._playing[channel] = speech
        if channel == 0:
            (self._speaking.clear if speech is None else self._speaking.set)()

    async def _interrupt(self, channel: int) -> None:
        """Interrupts the speech that plays; a request that came too late for it counts for nothing."""
        if channel not in self._playing:
            return
        number, task_id = self._playing[channel]
        at = time.monotonic()
        answer = await self._client.post(f"/v1/channels/bench{channel}/interrupt")
        if task_id in answer["cancelled"]:
            self._interrupted[number] = at

    def _injector(self, rtmp: RtmpServer, load: LoadMeter, server: MeasuredServer) -> FaultInjector:
        return FaultInjector(
            rtmp, load, self._store, server.fail_for, self.receivers[0].reconnect, lambda: self._interrupt(0)
        )

    async def _break(self, injector: FaultInjector, began: float) -> None:
        for planned in planned_faults(self._plan):
            await _sleep_to(began + planned.at_s)
            if self._plan.fault_minutes is not None:
                # A fault during idle puts no speech at risk.
                await self._until_speaking()
            speech = self._playing.get(0, (None, ""))[0]
            self._faults.append(await injector.strike(planned, speech))

    async def _until_speaking(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SPEECH_COMES_S):
                await self._speaking.wait()
                await asyncio.sleep(_INTO_SPEECH_S)

    def _with_waits(self, said: Said) -> Said:
        """Faces that couldn't be made come late to every speech that was made or waited meanwhile.

        A speech that was said anew or broken off can't be expected to wait for the chunk that is late by plan.
        """
        began, ended = self._lives[said.number]
        failures = [fault for fault in self._faults if fault.kind == FaultKind.MODELS_FAIL]
        cut = any(fault.speech == said.number and fault.kind in _CUTTING for fault in self._faults)
        may_wait = said.late or any(began < fault.back_at and fault.at < ended for fault in failures)
        return replace(said, may_wait=may_wait, late=said.late and not cut)


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
