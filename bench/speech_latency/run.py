"""The whole measurement: the product on the demo's avatar, viewers of its RTMP streams, and clients that speak."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from bench.gpu.emulated.repository import Emulation
from bench.load.live import LiveServer, demo_server, free_ports
from bench.machine import this_machine
from bench.speech_latency.clients import Said, SpeechClient
from bench.speech_latency.emulated import emulate, settings_of
from bench.speech_latency.findings import FirstSounds, Heard, first_sounds, microphones, path_to_viewer_s
from bench.speech_latency.marks import EVERY_S, marked, with_pauses
from bench.speech_latency.plan import LatencyPlan, Way
from bench.speech_latency.record import LatencyRecord, criteria
from bench.stream.receiver import Receiver
from bench.stream.stand_ins import voice
from orchestrator.settings import ENV_PREFIX, Settings
from speech.audio.decoder import ffmpeg_binary
from streaming.config import SAMPLE_RATE_HZ

_COUNTERS = ("frames_sent", "late_waits", "late_frames", "dropped_pairs", "stalls")
_ON_AIR_S = 60.0
_AGAIN_S = 0.2
_STATUS_S = 1.2

Report = Callable[[str], None]


async def bench_speech_latency(
    settings: Settings,
    plan: LatencyPlan,
    recording: NDArray[np.int16] | None,
    report: Report,
    emulated: Emulation | None = None,
) -> LatencyRecord:
    """Measure all of a plan; `recording` is spoken instead of a stand-in for a voice, int16 at 48 kHz.

    What the server prepares is kept in the data folder for the next run. Raises ServerNotReady and SpeechFailed, and
    what an export raises where a GPU is `emulated`.
    """
    # What was prepared for an emulated GPU is no use without it.
    data_dir = settings.data_dir / ("bench-speech-latency" if emulated is None else "bench-speech-latency-emulated")
    ours = settings.model_copy(update={"data_dir": data_dir})
    shutil.rmtree(ours.tasks_dir, ignore_errors=True)
    (data_dir / "channels.json").unlink(missing_ok=True)
    ffmpeg = str(settings.ffmpeg or ffmpeg_binary())
    if emulated is not None:
        await asyncio.to_thread(emulate, ours, emulated, report)
    report("starting the server …")
    with tempfile.TemporaryDirectory(prefix="latentsync-speech-latency-") as name:
        folder = Path(name)
        run = _Run(folder, ffmpeg, plan, recording, report)
        further = {} if emulated is None else settings_of(emulated)
        async with (
            run.viewed("main") as address,
            demo_server(folder, settings.checkpoint_dir, data_dir, address, further) as server,
        ):
            await run.ways(server)
            await run.microphones(server, ("main",))
            if plan.channels > 1:
                await run.further_channels(server, settings.avatar)
        return run.record(settings.checkpoint_dir.name, None if emulated is None else emulated.like)


class _Run:
    def __init__(
        self,
        folder: Path,
        ffmpeg: str,
        plan: LatencyPlan,
        recording: NDArray[np.int16] | None,
        report: Report,
    ) -> None:
        self._folder = folder
        self._ffmpeg = ffmpeg
        self._plan = plan
        self._recording = recording
        self._report = report
        self._ways: list[tuple[Way, list[Said], dict[str, int], float]] = []
        self._paced: list[tuple[list[Said], dict[str, int], float]] = []
        self._heard: dict[str, Heard] = {}

    @asynccontextmanager
    async def viewed(self, channel: str) -> AsyncIterator[str]:
        """A viewer of the channel, to be published to at the address; what it heard is read at the end."""
        address = f"rtmp://127.0.0.1:{free_ports(1)[0]}/live/{channel}"
        receiver = Receiver(address, self._folder / f"viewer-{channel}", self._ffmpeg, listens=True)
        try:
            yield address
        finally:
            await asyncio.to_thread(receiver.close)
        # Read while its folder is there.
        self._heard[channel] = await asyncio.to_thread(Heard.of, receiver.take_finished(), self._ffmpeg)

    async def ways(self, server: LiveServer) -> None:
        """Uploads and sockets whose sound is ready, after one speech by which the server learns its pace."""
        client, speech = SpeechClient(server.url, "main"), self._speech(self._plan.speech_s)
        self._report("the first speech of all …")
        await client.upload(speech)
        for way, say in ((Way.UPLOAD, client.upload), (Way.SOCKET, client.stream)):
            before, said = await _counters(server, ["main"]), []
            for number in range(self._plan.repeats):
                said.append(await say(speech))
                taken_ms = 1000 * (said[-1].encoded_at - said[-1].asked_at)
                self._report(f"{way} {number + 1} of {self._plan.repeats}: first sound after {taken_ms:.0f} ms")
            self._ways.append((way, said, await _since(server, before, ["main"]), os.getloadavg()[0]))

    async def microphones(self, server: LiveServer, channels: tuple[str, ...]) -> None:
        """Live speech on all of these channels at once."""
        self._report(f"{len(channels)} microphone(s) for {self._plan.minutes:g} min …")
        before, speech = await _counters(server, channels), self._speech(60 * self._plan.minutes, pauses=True)
        clients = [SpeechClient(server.url, channel) for channel in channels]
        said = await asyncio.gather(*(client.microphone(speech) for client in clients))
        self._paced.append((list(said), await _since(server, before, channels), os.getloadavg()[0]))

    async def further_channels(self, server: LiveServer, avatar: str) -> None:
        """So many channels as the plan has, each with a microphone and a viewer."""
        names = tuple(f"live{number}" for number in range(1, self._plan.channels))
        async with AsyncExitStack() as viewers:
            for name in names:
                address = await viewers.enter_async_context(self.viewed(name))
                await _create(server, name, avatar, address)
            await self.microphones(server, ("main", *names))

    def record(self, checkpoint: str, emulated_like: str | None) -> LatencyRecord:
        """All of it, once nobody views any more."""
        machine, heard = this_machine(self._ffmpeg), self._heard
        path_s = path_to_viewer_s([said for _, speeches, _, _ in self._ways for said in speeches], heard["main"])
        first: list[FirstSounds] = [
            first_sounds(way, said, heard["main"], counters, load) for way, said, counters, load in self._ways
        ]
        minutes, marks = self._plan.minutes, int(60 * self._plan.minutes / EVERY_S)
        paced = [
            microphones(said, heard, marks, path_s, counters, minutes, load) for said, counters, load in self._paced
        ]
        return LatencyRecord(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=machine,
            checkpoint=checkpoint,
            plan=self._plan,
            live={name: value for name, value in os.environ.items() if name.startswith(f"{ENV_PREFIX}LIVE_")},
            first_sounds=first,
            path_to_viewer_ms=round(1000 * path_s, 1),
            microphones=paced,
            criteria=criteria(bool(machine.gpus) or emulated_like is not None, first, paced),
            emulated_like=emulated_like,
        )

    def _speech(self, seconds: float, pauses: bool = False) -> NDArray[np.int16]:
        if self._recording is None:
            said = voice(seconds, seed=1)
            return marked(with_pauses(said) if pauses else said)
        return marked(np.resize(self._recording, round(seconds * SAMPLE_RATE_HZ)))


async def _create(server: LiveServer, name: str, avatar: str, target: str) -> None:
    """Returns once the channel is on the air."""
    body = {"channel": name, "avatar": avatar, "targets": [target]}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http, asyncio.timeout(_ON_AIR_S):
        (await http.post("/v1/channels", json=body)).raise_for_status()
        while True:
            stream: dict[str, Any] = (await http.get(f"/v1/channels/{name}")).json()["stream"] or {}
            if stream.get("publisher") == "on_air":
                return
            await asyncio.sleep(_AGAIN_S)


async def _counters(server: LiveServer, channels: Sequence[str]) -> dict[str, int]:
    """Sums over the channels, which report each second."""
    await asyncio.sleep(_STATUS_S)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        streams = [(await http.get(f"/v1/channels/{channel}")).json()["stream"] for channel in channels]
    return {counter: sum(stream[counter] for stream in streams) for counter in _COUNTERS}


async def _since(server: LiveServer, before: dict[str, int], channels: Sequence[str]) -> dict[str, int]:
    after = await _counters(server, channels)
    return {counter: after[counter] - before[counter] for counter in _COUNTERS}
