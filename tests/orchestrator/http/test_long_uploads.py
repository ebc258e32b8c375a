"""An upload that takes long to decode, as its client sees it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from speech.audio import decoder
from tests.support.audio_files import children
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.slow_decoder import slow_decoder
from tests.support.speech_samples import wav

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = str(slow_decoder(tmp_path / "bin"))
    monkeypatch.setattr(decoder, "ffmpeg_binary", lambda: program)


async def send(server: RunningServer, speech: bytes) -> str:
    answer = await server.http.post("/v1/tasks", files={"audio_file": ("speech.wav", speech)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["task_id"])


async def events(server: RunningServer, task_id: str) -> list[dict[str, Any]]:
    async with server.http.stream("GET", f"/v1/tasks/{task_id}/events") as stream:
        return [json.loads(line[6:]) async for line in stream.aiter_lines() if line.startswith("data: ")]


async def test_its_length_and_progress_are_unknown_until_it_has_arrived(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        seen = await events(server, await send(server, wav(3.0)))
        text = (await server.http.get("/metrics")).text
    unknown = [event for event in seen if event["duration_s"] is None]
    known = seen[len(unknown) :]
    assert unknown and {event["duration_s"] for event in known} == {3.0}
    assert {(event["progress"], event["frames"]["total"], event["error"]) for event in unknown} == {(None, None, None)}
    assert known[-1]["state"] == "done" and known[-1]["progress"] == 1.0
    assert known[-1]["frames"]["played"] == known[-1]["frames"]["total"] == 77
    assert "decoded" not in unknown[-1]["timings_s"] and known[-1]["timings_s"]["decoded"] > 1
    assert "latentsync_speech_seconds_total 3.0" in text


async def test_file_that_turns_out_to_be_cut_off_is_said_as_far_as_it_goes_and_fails(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        whole = wav(6.0)
        failed = await server.task(await send(server, whole[: len(whole) // 2]), "failed")
        assert failed["error"]["code"] == "truncated_audio"
        assert 2.9 < failed["duration_s"] <= 3.0 and failed["frames"]["played"] == failed["frames"]["total"] > 75


async def test_cancelling_it_ends_its_decoder_and_leaves_no_file(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with running(settings) as server:
        await server.ready()
        server.models.gate.clear()
        first = await send(server, wav(0.2))
        await server.task(first, "inferring")
        task_id = await send(server, wav(60.0))
        assert (await server.task(task_id, "receiving"))["progress"] is None
        assert (await server.http.get("/v1/channels/main")).json()["waiting"] == 1
        cancelled = (await server.http.delete(f"/v1/tasks/{task_id}")).json()
        assert (cancelled["state"], cancelled["error"]) == ("cancelled", None)
        while (
            children()
            or any(settings.tasks_dir.glob(f"{task_id}*"))
            or any(server.orchestrator.files.incoming.iterdir())
        ):
            await asyncio.sleep(0.05)
        server.models.gate.set()
        await server.task(first, "done")


async def test_ordered_stop_waits_for_it_and_it_is_said_whole_after_the_next_start(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, drain_limit_s=30.0)
    async with running(settings) as server:
        await server.ready()
        server.models.gate.clear()
        first = await send(server, wav(0.2))
        await server.task(first, "inferring")
        task_id = await send(server, wav(4.0))
        await server.task(task_id, "receiving")
        server.server.stop()
        server.models.gate.set()
        while (left := await server.orchestrator.board.get(task_id)) and left.duration_s is None:
            await asyncio.sleep(0.05)
    async with running(settings) as server:
        task = await server.task(task_id, "done")
        assert (task["duration_s"], task["attempts"], task["error"]) == (4.0, 1, None)
