"""Speech that is heard while it is still sent."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from orchestrator.channels.channel import Channel
from speech.audio.lead_in import Rhythm
from tests.support.running_server import running, settings_in
from tests.support.sockets import END, PATH, START, open_socket, receive, send, tone

pytestmark = pytest.mark.timeout(90)


async def test_speech_is_heard_while_it_is_still_sent(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server, open_socket(server, PATH) as socket:
        await server.ready()
        await send(socket, START, tone(2.0))
        await receive(socket, "accepted")
        assert (await receive(socket, "started"))["sample"] == 0
        await send(socket, tone(1.0), END)
        ended = await receive(socket, "ended")
        assert (ended["reason"], ended["heard_samples"]) == ("completed", 72_000)


async def test_pause_of_the_source_is_silence_and_no_sample_is_skipped(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server, open_socket(server, PATH) as socket:
        await server.ready()
        await send(socket, START, tone(1.0))
        await receive(socket, "accepted")
        await receive(socket, "started")
        await asyncio.sleep(3)
        await send(socket, tone(1.0), END)
        assert (await receive(socket, "ended"))["heard_samples"] == 48_000


async def test_server_reads_no_further_than_the_bound_and_drops_nothing(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, live_ahead_s=2.0)) as server, open_socket(server, PATH) as socket:
        await server.ready()
        sending = asyncio.create_task(send(socket, START, *[tone(0.5)] * 20, END))
        most_ahead, log = 0, None
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "accepted":
                log = server.orchestrator.board._logs.get(message["task_id"])
            if message["type"] == "position":
                assert log is not None
                read = log.frames  # what the server knows to be heard comes second: it only grows
                known = await server.orchestrator.board.get(message["task_id"])
                assert known is not None
                most_ahead = max(most_ahead, read - known.frames_heard)
            if message["type"] == "ended":
                break
        await sending
        assert (message["reason"], message["heard_samples"]) == ("completed", 240_000)
        assert 0 < most_ahead <= 50 + 13, "the bound, and one message"


async def test_silence_before_a_microphone_is_none_of_its_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a GPU: all of the sound comes at once, so that it seems to have begun that long ago.
    monkeypatch.setattr(Channel, "rhythm", lambda *_: Rhythm(0.5, time.monotonic() - 0.005))
    async with running(settings_in(tmp_path)) as server, open_socket(server, PATH) as socket:
        await server.ready()
        block = tone(0.01)
        await send(socket, START | {"source": "microphone"}, *[block] * 50, END)
        task_id = (await receive(socket, "accepted"))["task_id"]
        assert (await receive(socket, "started"))["sample"] == 0
        assert (await receive(socket, "ended"))["heard_samples"] == 12_000
        assert (await server.task(task_id, "done"))["duration_s"] == pytest.approx(0.56, abs=0.001), "and 40 ms more"


async def test_interrupt_while_it_is_still_sent_tells_what_was_heard(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server, open_socket(server, PATH) as socket:
        await server.ready()
        await send(socket, START, tone(6.0))
        await receive(socket, "accepted")
        await receive(socket, "started")
        await receive(socket, "position")
        await send(socket, {"type": "interrupt"})
        ended = await receive(socket, "ended")
        assert ended["reason"] == "interrupted" and 0 < ended["heard_samples"] < 144_000


async def test_lost_source_is_heard_to_its_last_sample(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, live_idle_limit_s=2.0)) as server, open_socket(server, PATH) as socket:
        await server.ready()
        await send(socket, START, tone(1.0))
        await receive(socket, "accepted")
        # Which of the two comes first is a matter of the machine.
        assert {(await receive(socket, "started", "error"))["type"] for _ in range(2)} == {"started", "error"}
        ended = await receive(socket, "ended")
        assert (ended["reason"], ended["heard_samples"]) == ("source_lost", 24_000)
