"""Wyoming's own client makes a channel speak: as Home Assistant's speech synthesis, and as a satellite's speaker."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from conversation.synthesis.synthesiser import SynthesisError
from orchestrator.server import ServerFailed
from tests.support.failing_files import no_file_left
from tests.support.running_server import RunningServer, free_port, running, settings_in
from tests.support.sockets import tone
from tests.support.synthesisers import ToneSynthesiser

pytest.importorskip("wyoming")

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.info import Describe, Info, SelectProgram
from wyoming.ping import Ping
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeVoice

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

TEXT = "Hi there. You too?"
SECONDS = 0.7 + 0.35 + 0.6 + 0.35  # of TEXT: a tenth for each letter, and the pauses
RATE_HZ = 22_050


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    folder = tmp_path_factory.mktemp("server")
    settings = settings_in(folder, wyoming_port=free_port(), say_limit_chars=200, uploads_per_minute=0)
    async with running(settings) as started:
        await started.ready()
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def synthesiser(server: RunningServer) -> AsyncIterator[ToneSynthesiser]:
    server.orchestrator.synthesiser = synthesiser = ToneSynthesiser()
    yield synthesiser
    await server.http.post("/v1/channels/main/interrupt?queue=true")  # else the next test waits for its speeches
    while server.orchestrator.sockets.taken:
        await asyncio.sleep(0.02)


@asynccontextmanager
async def client_of(server: RunningServer) -> AsyncIterator[AsyncTcpClient]:
    port = server.orchestrator.settings.wyoming_port
    assert port is not None
    async with AsyncTcpClient("127.0.0.1", port, read_timeout=30) as client:
        yield client


async def answers(client: AsyncTcpClient, *last: str) -> list[Event]:
    """What comes up to the first event of these types, or up to the connection's end."""
    events = []
    while (event := await client.read_event()) is not None:
        events.append(event)
        if event.type in last:
            return events
    return events


async def send_sound(client: AsyncTcpClient, seconds: float, end: bool = True) -> None:
    sound = tone(seconds, RATE_HZ)
    kind = {"rate": RATE_HZ, "width": 2, "channels": 1}
    await client.write_event(AudioStart(**kind).event())
    for first in range(0, len(sound), 2048):
        await client.write_event(AudioChunk(**kind, audio=sound[first : first + 2048]).event())
    if end:
        await client.write_event(AudioStop().event())


async def tasks(server: RunningServer) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await server.http.get("/v1/tasks")).json()["tasks"]
    return listed


class Tasks:
    """Those that a test makes."""

    def __init__(self, server: RunningServer, before: set[str]) -> None:
        self._server = server
        self._before = before

    @classmethod
    async def of(cls, server: RunningServer) -> "Tasks":
        return cls(server, {task["task_id"] for task in await tasks(server)})

    async def new(self) -> list[dict[str, Any]]:
        """The newest first."""
        return [task for task in await tasks(self._server) if task["task_id"] not in self._before]

    async def newest(self, *states: str) -> dict[str, Any]:
        """The newest, once there is one, and it is in one of the states."""
        while not (found := await self.new()):
            await asyncio.sleep(0.02)
        return await self._server.task(found[0]["task_id"], *states)


def seconds_of(events: list[Event]) -> float:
    chunks = [AudioChunk.from_event(event) for event in events if event.type == "audio-chunk"]
    return float(sum(chunk.seconds for chunk in chunks))


async def test_home_assistant_finds_a_service_with_voices(server: RunningServer, synthesiser: ToneSynthesiser) -> None:
    async with client_of(server) as client:
        await client.write_event(Describe().event())
        [event] = await answers(client, "info")
        info = Info.from_event(event)
        await client.write_event(Ping(text="there?").event())
        [pong] = await answers(client, "pong")
    assert pong.data["text"] == "there?"
    [program] = info.tts
    assert program.name == info.snd[0].name == "main" and program.installed and program.supports_synthesize_streaming
    assert {voice.name: voice.languages for voice in program.voices} == {"low": ["en-US"], "high": ["zh-CN"]}


async def test_a_text_is_said_and_its_sound_is_the_answer(server: RunningServer, synthesiser: ToneSynthesiser) -> None:
    made = await Tasks.of(server)
    async with client_of(server) as client:
        await client.write_event(Synthesize(text=TEXT, voice=SynthesizeVoice(name="high")).event())
        events = await answers(client, "audio-stop")
    assert [event.type for event in events[:2]] == ["audio-start", "audio-chunk"]
    assert AudioStart.from_event(events[0]).rate == AudioChunk.from_event(events[1]).rate == 24_000
    assert seconds_of(events) == pytest.approx(SECONDS, abs=0.08)
    assert {voice.name for _, voice in synthesiser.said} == {"high"}
    # Home Assistant closes once it has the sound, which is long before all of it is said.
    task = await made.newest("done")
    assert task["source"] == "text" and task["frames"]["heard"] == pytest.approx(SECONDS * 25, abs=2)


async def test_a_client_that_closes_its_own_side_gets_the_whole_sound(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    text = "This sentence has enough letters that its sound fills what is buffered on the way. " * 2
    async with client_of(server) as client:
        await client.write_event(Synthesize(text=text).event())
        assert client._writer is not None
        client._writer.write_eof()
        await asyncio.sleep(1.0)  # it doesn't read at once
        events = await answers(client)
    assert events[-1].type == "audio-stop"
    assert seconds_of(events) == pytest.approx(2 * (6.7 + 0.35), abs=0.2)


async def test_a_text_in_chunks_is_said_once_though_it_is_sent_as_a_whole_too(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    async with client_of(server) as client:
        await client.write_event(SynthesizeStart().event())
        await client.write_event(SynthesizeChunk("Hi there. Yo").event())
        early = await answers(client, "audio-chunk")  # while the rest isn't known yet
        await client.write_event(SynthesizeChunk("u too?").event())
        await client.write_event(Synthesize(text=TEXT).event())
        await client.write_event(SynthesizeStop().event())
        events = early + await answers(client, "synthesize-stopped")
        await client.write_event(Synthesize(text="One more.").event())  # another on the same connection
        more = await answers(client, "audio-stop")
    assert [event.type for event in events[-2:]] == ["audio-stop", "synthesize-stopped"]
    assert seconds_of(events) == pytest.approx(SECONDS, abs=0.08)
    assert seconds_of(more) == pytest.approx(0.7 + 0.35, abs=0.08)
    assert [text for text, _ in synthesiser.said] == ["Hi there.", "You too?", "One more."]


async def test_a_program_is_a_channel(server: RunningServer, synthesiser: ToneSynthesiser) -> None:
    made = await Tasks.of(server)
    created = await server.http.post("/v1/channels", json={"channel": "news", "avatar": "demo", "language": "fr"})
    assert created.status_code == 201, created.text
    try:
        async with client_of(server) as client:
            await client.write_event(Describe().event())
            info = Info.from_event((await answers(client, "info"))[0])
            assert [program.name for program in info.tts] == ["main", "news"]
            await client.write_event(SelectProgram("news").event())
            await client.write_event(Synthesize(text="One.").event())
            await answers(client, "audio-stop")
        assert [task["channel"] for task in await made.new()] == ["news"]
        async with client_of(server) as client:
            await client.write_event(SelectProgram("nobody").event())
            assert (await answers(client))[0].data["code"] == "unknown_channel"
    finally:
        await server.http.delete("/v1/channels/news")


async def test_sound_is_said_and_reported_once_it_was_heard(server: RunningServer) -> None:
    made = await Tasks.of(server)
    async with client_of(server) as client:
        for seconds in (0.6, 0.4):
            await send_sound(client, seconds)
        first = await answers(client, "played")
        states = [task["state"] for task in await made.new()]
        second = await answers(client, "played")
    assert [event.type for event in first + second] == ["played", "played"]
    assert states[1] == "done"
    assert (await made.newest("done"))["frames"]["heard"] == 10


async def test_a_satellite_that_does_not_wait_for_the_report_is_heard(server: RunningServer) -> None:
    made = await Tasks.of(server)
    async with client_of(server) as client:
        await send_sound(client, 0.8)
    assert (await made.newest("done"))["frames"]["heard"] == 20


async def test_sound_of_a_satellite_that_dies_is_heard_as_far_as_it_came(server: RunningServer) -> None:
    made = await Tasks.of(server)
    async with client_of(server) as client:
        await send_sound(client, 0.4, end=False)
    task = await made.newest("failed")
    assert (task["error"]["code"], task["frames"]["heard"]) == ("source_lost", 10)


async def test_interruption_ends_the_sound_of_a_text_and_is_reported_as_played(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    synthesiser.hold_after = 1
    async with client_of(server) as client:
        await client.write_event(Synthesize(text=TEXT).event())
        await answers(client, "audio-chunk")
        await server.http.post("/v1/channels/main/interrupt")
        assert (await answers(client, "audio-stop"))[-1].type == "audio-stop"
    made = await Tasks.of(server)
    async with client_of(server) as client:
        await send_sound(client, 20)
        await made.newest("streaming")
        await server.http.post("/v1/channels/main/interrupt")
        assert [event.type for event in await answers(client, "played")] == ["played"]


async def test_a_client_that_leaves_amid_a_text_silences_it(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    made = await Tasks.of(server)
    async with client_of(server) as client:
        await client.write_event(SynthesizeStart().event())
        await client.write_event(SynthesizeChunk("Hi there, this is a long one. And").event())
        await answers(client, "audio-chunk")
    assert (await made.newest("cancelled"))["state"] == "cancelled"


async def test_a_text_that_fails_is_no_whole_sound(server: RunningServer, synthesiser: ToneSynthesiser) -> None:
    synthesiser.error = SynthesisError("synthesis_failed", "no voice today")
    async with client_of(server) as client:
        await client.write_event(Synthesize(text=TEXT).event())
        events = await answers(client)
    assert [event.type for event in events] == ["audio-start", "error"]
    assert events[-1].data == {"text": "no voice today", "code": "synthesis_failed"}


async def test_a_text_whose_sound_cannot_be_opened_is_not_said(
    server: RunningServer, synthesiser: ToneSynthesiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await Tasks.of(server)
    monkeypatch.setattr("speech.log.os.dup", no_file_left)
    async with client_of(server) as client:
        await client.write_event(Synthesize(text=TEXT).event())
        events = await answers(client)
    assert [(event.type, event.data["code"]) for event in events] == [("error", "busy")]
    assert ((await made.newest("cancelled"))["frames"]["heard"], synthesiser.said) == (0, [])


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (Synthesize(text="Hi.", voice=SynthesizeVoice(name="deep")).event(), "unknown_voice"),
        (Synthesize(text="Hi. " * 51).event(), "text_too_long"),
        (Synthesize(text="…").event(), "empty_text"),
        (Event("synthesize", {"text": 7}), "bad_event"),
        (Event("synthesize", {"text": "Hi.", "voice": []}), "bad_event"),
        (SynthesizeChunk("Hi.").event(), "bad_event"),
        (AudioChunk(RATE_HZ, 2, 1, b"\0\0").event(), "bad_event"),
        (AudioStart(RATE_HZ, 4, 1).event(), "bad_event"),
        (AudioStart(RATE_HZ, 2, 9).event(), "bad_event"),
        (AudioStart(1, 2, 1).event(), "bad_event"),
    ],
)
async def test_what_cannot_be_said_is_answered_with_an_error(
    server: RunningServer, synthesiser: ToneSynthesiser, event: Event, code: str
) -> None:
    async with client_of(server) as client:
        await client.write_event(event)
        events = await answers(client)
    assert events[-1].type == "error" and events[-1].data["code"] == code, events


BROKEN = {
    "no JSON": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an empty line": b"\n",
    "no object": b"[1, 2]\n",
    "a number": b"7\n",
    "no type": b"{}\n",
    "a type that is no text": b'{"type": {}}\n',
    "too deep": b"[" * 60_000 + b"\n",
    "a line without end": b'{"type": "' + b"x" * 200_000,
    "data that is no JSON": b'{"type": "ping", "data_length": 3}\nabc',
    "data that is no object": b'{"type": "ping", "data_length": 2}\n[]',
    "data of a wrong kind": b'{"type": "ping", "data": 7}\n',
    "a length that is none": b'{"type": "ping", "payload_length": "many"}\n',
    "more than is taken": b'{"type": "audio-chunk", "payload_length": 999999999999}\n',
    "half a character": b'{"type": "synthesize", "data": {"text": "\\ud800"}}\n',
    "no UTF-8": b'{"type": "\xff"}\n',
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
async def test_broken_events_are_answered_and_end_only_their_connection(
    server: RunningServer, synthesiser: ToneSynthesiser, sent: bytes
) -> None:
    made = await Tasks.of(server)
    async with client_of(server) as client, client_of(server) as other:
        writer = client._writer
        assert writer is not None
        # What comes after it is not taken: a page could let a browser send it as a request's body.
        writer.write(sent + b"\n" + json.dumps({"type": "synthesize", "data": {"text": "Hi."}}).encode() + b"\n")
        await writer.drain()
        told = (await answers(client))[-1]
        assert told.type == "error" and "didn't come" not in told.data["text"]  # at once, not after waiting for more
        await other.write_event(Ping().event())
        assert await answers(other, "pong")
    assert not [text for text, _ in synthesiser.said]
    assert len(await made.new()) == (sent is BROKEN["half a character"])  # which the speech finds out


async def test_unknown_events_mean_nothing(server: RunningServer) -> None:
    async with client_of(server) as client:
        await client.write_event(Event("run-pipeline", {"start_stage": "asr", "type": "ping"}, b"abc"))
        await client.write_event(AudioStop().event())
        await client.write_event(Ping().event())
        assert [event.type for event in await answers(client, "pong")] == ["pong"]


async def test_a_caller_has_half_of_the_places(server: RunningServer) -> None:
    share = server.orchestrator.sockets.share
    async with client_of(server) as first:
        others = [await asyncio.open_connection(first.host, first.port) for _ in range(share - 1)]
        while server.orchestrator.sockets.taken < share:
            await asyncio.sleep(0.01)
        async with client_of(server) as refused:
            [event] = await answers(refused)
        for _, writer in others:
            writer.close()
    assert event.type == "error" and event.data["code"] == "busy"


async def test_clients_that_die_at_any_moment_leave_nothing(
    server: RunningServer, synthesiser: ToneSynthesiser
) -> None:
    drawn = random.Random(11)

    async def one() -> None:
        async with client_of(server) as client:
            if drawn.random() < 0.5:
                await client.write_event(SynthesizeStart().event())
                await client.write_event(SynthesizeChunk("Hi there, you. And you, too.").event())
            else:
                await send_sound(client, drawn.uniform(0.1, 2), end=drawn.random() < 0.5)
            writer = client._writer
            assert writer is not None
            if drawn.random() < 0.5:
                writer.write(b'{"type": "synthesize-chunk", "data_length": 900}\n{"te')
            await asyncio.sleep(drawn.uniform(0, 0.3))
            if drawn.random() < 0.5:
                writer.transport.abort()

    for _ in range(6):
        await asyncio.gather(*(one() for _ in range(4)))
    await server.http.post("/v1/channels/main/interrupt?queue=true")
    while server.orchestrator.sockets.taken:
        await asyncio.sleep(0.02)
    while any(task.get_name().startswith("wyoming-") for task in asyncio.all_tasks()):
        await asyncio.sleep(0.02)
    await send_sound_and_hear(server)


async def send_sound_and_hear(server: RunningServer) -> None:
    async with client_of(server) as client:
        await send_sound(client, 0.2)
        assert [event.type for event in await answers(client, "played")] == ["played"]


async def test_a_client_that_does_not_read_is_left(
    server: RunningServer, synthesiser: ToneSynthesiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await Tasks.of(server)
    monkeypatch.setattr("orchestrator.http.agents.wyoming.connection._STALLED_S", 0.3)
    async with client_of(server) as client:
        assert client._writer is not None
        client._writer.transport.pause_reading()
        await client.write_event(SynthesizeStart().event())
        for _ in range(200):
            await client.write_event(SynthesizeChunk("A sentence of the longer kind, which takes its time. ").event())
        await made.newest("cancelled")


async def test_an_event_that_stalls_ends_its_connection(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.http.agents.wyoming.events._EVENT_S", 0.2)
    async with client_of(server) as client:
        assert client._writer is not None
        client._writer.write(b'{"type": "audio-chunk", "payload_length": 100}\n1234')
        [event] = await answers(client)
    assert event.data["code"] == "bad_event"


async def test_a_server_that_stops_lets_sound_play_to_its_end(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, wyoming_port=free_port())) as server:
        await server.ready()
        made = await Tasks.of(server)
        async with client_of(server) as client, client_of(server) as idle:
            await send_sound(client, 1.0)
            await made.newest("streaming")
            server.server.stop()
            assert [event.type for event in await answers(client)] == ["played"]
            assert await answers(idle) == []


async def test_a_port_that_is_taken_is_said_before_anything_starts(tmp_path: Path) -> None:
    taken = free_port()
    blocking = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", taken)
    async with blocking:
        with pytest.raises(ServerFailed, match=f"can't listen on 127.0.0.1:{taken}"):
            async with running(settings_in(tmp_path, wyoming_port=taken)):
                pass


async def test_others_than_the_named_clients_may_not_use_it(tmp_path: Path) -> None:
    clients = ("192.168.1.20", "10.2.0.0/16")
    settings = settings_in(tmp_path, wyoming_port=10200, wyoming_host="0.0.0.0", wyoming_clients=clients)
    allowed = ("127.0.0.1", "::1", "192.168.1.20", "10.2.255.7", "::ffff:10.2.0.1")
    assert all(settings.may_use_wyoming(address) for address in allowed)
    assert not any(settings.may_use_wyoming(address) for address in ("192.168.1.21", "10.1.0.1", "2001:db8::1", ""))


async def test_a_stranger_is_not_answered(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(server.orchestrator.settings), "may_use_wyoming", lambda settings, address: False)
    async with client_of(server) as client:
        await client.write_event(Describe().event())
        assert await answers(client) == []
