"""The whole measurement: the product on the demo's avatar, a viewer of its RTMP stream, and a person who talks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.load.live import LiveServer, demo_server, free_ports
from bench.load.usage import WholeServer
from bench.machine import this_machine
from bench.stream.receiver import Part, Receiver
from bench.talk.accounts import Accounts, accounts_of
from bench.talk.at_once import parts_at_once
from bench.talk.bleed import Loudspeaker
from bench.talk.client import RATE_HZ, TalkClient, Told, TurnLost
from bench.talk.faults import FaultFound, meet
from bench.talk.findings import TurnFindings, turn_findings
from bench.talk.plan import BEGINS, SPOKEN, Asked, PlannedTurn, TalkPlan, planned_turns
from bench.talk.provider import Fault, FaultyProvider
from bench.talk.received import Received
from bench.talk.record import EchoFindings, TalkRecord, criteria
from bench.talk.turns import TakenTurn, TurnTaker
from bench.talk.voices import questions
from conversation.recognition.whisper import LocalWhisper
from orchestrator.settings import Settings
from speech.audio.decoder import ffmpeg_binary

_COUNTERS = ("frames_sent", "late_waits", "late_frames", "dropped_pairs", "stalls")
_STATUS_S = 1.2
_SAMPLED_S = 2.0
_CHANNEL = "main"

Report = Callable[[str], None]


async def bench_talk(settings: Settings, plan: TalkPlan, report: Report) -> TalkRecord:
    """Measure all of a plan. Raises ServerNotReady, and TurnLost where no conversation can be held.

    What the server prepares is kept in the data folder for the next run.
    """
    data_dir = settings.data_dir / "bench-talk"
    shutil.rmtree(settings.model_copy(update={"data_dir": data_dir}).tasks_dir, ignore_errors=True)
    (data_dir / "channels.json").unlink(missing_ok=True)
    ffmpeg = str(settings.ffmpeg or ffmpeg_binary())
    with tempfile.TemporaryDirectory(prefix="latentsync-talk-") as name:
        run = _Run(Path(name), settings.checkpoint_dir, data_dir, ffmpeg, plan, report)
        turns, echo, counters, growth, load = await run.conversed()
        faults = await run.with_faults() if plan.faults else []
        machine = this_machine(ffmpeg)
        return TalkRecord(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=machine,
            checkpoint=settings.checkpoint_dir.name,
            plan=plan,
            turns=turns,
            counters=counters,
            memory_growth=growth,
            load_average=load,
            echo=echo,
            faults=faults,
            criteria=criteria(plan, machine, turns, counters, growth, echo, faults),
        )


class _Run:
    def __init__(
        self, folder: Path, checkpoint_dir: Path, data_dir: Path, ffmpeg: str, plan: TalkPlan, report: Report
    ) -> None:
        self._folder = folder
        self._checkpoint_dir = checkpoint_dir
        self._data_dir = data_dir
        self._ffmpeg = ffmpeg
        self._plan = plan
        self._report = report
        self._parts: list[Part] = []

    async def conversed(self) -> tuple[TurnFindings, EchoFindings | None, dict[str, int], dict[str, float], float]:
        """The turns, and speaking with bleed, with the parts of the plan."""
        plan, turns = self._plan, planned_turns(self._plan)
        echo = None
        async with self._parts_of_plan() as further, self._server(further) as server:
            client = TalkClient(server.url, _CHANNEL)
            async with client.talking():
                await self._warm(client)
                before, first = await _counters(server), len(client.told)
                with _sampled(server) as meter:
                    taken = await TurnTaker(client, questions()).take_all(turns, self._report)
                load = os.getloadavg()[0]
                told = client.told[first:]
                counters = await _since(server, before)
                if plan.echo_minutes and not client.ended:
                    echo = await self._echo(server, client)
        self._report("listening to what a viewer received …")
        accounts = accounts_of(told, turns)
        return await self._heard(taken, accounts, told), echo, counters, meter.growth(), load

    @asynccontextmanager
    async def _parts_of_plan(self) -> AsyncIterator[Mapping[str, str]]:
        """The settings of what recognises, answers and synthesises."""
        if not self._plan.at_once:
            yield {"RESPONDER": "rules"}
            return
        async with parts_at_once() as further:
            yield further

    async def with_faults(self) -> list[FaultFound]:
        """A language model that fails in each way, and works at the next turn."""
        found = []
        async with FaultyProvider().running() as provider:
            further = {"RESPONDER": "openai", "RESPONDER_URL": provider.url, "RESPONDER_KEY": "none"}
            async with self._server(further) as server:
                client = TalkClient(server.url, _CHANNEL)
                async with client.talking():
                    for fault in Fault:
                        found.append(await meet(client, provider, fault))
                        self._report(f"{fault}: {', '.join(found[-1].told) or 'nothing told'}; kept: {found[-1].kept}")
        return found

    @asynccontextmanager
    async def _server(self, further: Mapping[str, str]) -> AsyncIterator[LiveServer]:
        """The server, and a viewer of its stream, whose parts are kept."""
        self._report("starting the server …")
        address = f"rtmp://127.0.0.1:{free_ports(1)[0]}/live/{_CHANNEL}"
        receiver = Receiver(address, self._folder / f"viewer-{len(self._parts)}", self._ffmpeg, listens=True)
        settings = {f"LATENTSYNC_{name}": value for name, value in further.items()}
        try:
            async with demo_server(self._folder, self._checkpoint_dir, self._data_dir, address, settings) as server:
                yield server
        finally:
            await asyncio.to_thread(receiver.close)
            self._parts += receiver.take_finished()

    async def _warm(self, client: TalkClient) -> None:
        """A first turn of each kind, by which recogniser and models are started and the server learns its pace."""
        self._report("the first turns of all …")
        text = "Say good morning."
        first = [
            PlannedTurn(-2, Asked.TYPED, text, "good morning", None),
            PlannedTurn(-1, Asked.TIME, SPOKEN[Asked.TIME], BEGINS[Asked.TIME], None),
        ]
        await TurnTaker(client, questions()).take_all(first, lambda line: None)

    async def _echo(self, server: LiveServer, client: TalkClient) -> EchoFindings:
        """Long answers one after another, with the channel's own sound in the microphone; nobody else speaks."""
        plan = self._plan
        self._report(f"speaking for {plan.echo_minutes:g} min with bleed at {plan.bleed_db:g} dB …")
        loudspeaker, typed, first = Loudspeaker(plan.bleed_db), 0, len(client.told)
        async with loudspeaker.connected(server.url, _CHANNEL):
            client.bleed = loudspeaker.take
            began_s = time.monotonic()
            try:
                while time.monotonic() < began_s + 60 * plan.echo_minutes:
                    since = len(client.told)
                    await client.type(SPOKEN[Asked.HELP])
                    typed += 1
                    asked = await client.until(since, "transcript", final=True)
                    # By its number: the end of an answer that this question cut off comes now, too.
                    await client.until(since, "heard", turn=asked.message["turn"])
            except TurnLost as error:
                self._report(str(error))
            client.bleed, lasted_s = None, time.monotonic() - began_s
        messages = [told.message for told in client.told[first:]]
        states = [message["state"] for message in messages if message["type"] == "state"]
        transcripts = sum(message["type"] == "transcript" and message["final"] for message in messages)
        return EchoFindings(
            minutes=round(lasted_s / 60, 2),
            bleed_db=plan.bleed_db,
            played_s=round(loudspeaker.played / RATE_HZ, 1),
            interrupted=sum(state in ("interrupted", "hearing") for state in states),
            turns_of_its_own=transcripts - typed,
        )

    async def _heard(self, taken: list[TakenTurn], accounts: Accounts, told: list[Told]) -> TurnFindings:
        received = await asyncio.to_thread(Received.of, self._parts, self._ffmpeg)
        recogniser = LocalWhisper()
        running = asyncio.create_task(recogniser.run())
        try:
            return await turn_findings(taken, accounts, told, received, recogniser)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


class _Meter:
    """Memory by role while turns are taken."""

    def __init__(self, pid: int) -> None:
        self._server = WholeServer(pid)

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(self._server.sample)
            await asyncio.sleep(_SAMPLED_S)

    def growth(self) -> dict[str, float]:
        """The last quarter over the second one, of those who live all the time; the first one still warms up."""
        found = {}
        for role, samples in self._server.samples.items():
            quarter = len(samples) // 4
            if quarter and role in ("orchestrator", "channel", "encoder", "models"):
                sizes = np.array([sample.rss_bytes for sample in samples], np.float64)
                found[role] = round(float(sizes[-quarter:].mean() / sizes[quarter : 2 * quarter].mean()), 4)
        return found


@contextlib.contextmanager
def _sampled(server: LiveServer) -> Any:
    meter = _Meter(server.pid)
    sampling = asyncio.create_task(meter.run())
    try:
        yield meter
    finally:
        sampling.cancel()


async def _counters(server: LiveServer) -> dict[str, int]:
    """Those of the channel, which reports each second."""
    await asyncio.sleep(_STATUS_S)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        stream: dict[str, int] = (await http.get(f"/v1/channels/{_CHANNEL}")).json()["stream"]
    return {counter: stream[counter] for counter in _COUNTERS}


async def _since(server: LiveServer, before: dict[str, int]) -> dict[str, int]:
    after = await _counters(server)
    return {counter: after[counter] - before[counter] for counter in _COUNTERS}
