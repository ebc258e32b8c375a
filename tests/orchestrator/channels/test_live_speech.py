"""Speech that is said while it arrives. The channel and its ffmpeg are real; the models answer at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.tasks.task import Task
from speech.log import SpeechLog
from speech.source import SpeechSource
from tests.support.logs import noise, sound_frames
from tests.support.running_server import RunningServer, running, settings_in

pytestmark = pytest.mark.timeout(90)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path)) as started:
        await started.ready()
        yield started


async def begin(server: RunningServer, task_id: str, source: SpeechSource = SpeechSource.STREAM) -> SpeechLog:
    now = server.orchestrator.clock()
    task = Task(task_id, "main", steps=2, guidance=1.0, seed=1, duration_s=None, created_at=now, source=source)
    return await server.orchestrator.board.begin(task)


async def speak(log: SpeechLog, frames: int, quiet: bool = False) -> None:
    """So many frames at the pace of speech."""
    sound = noise(frames) * (0 if quiet else 1)
    for frame in range(frames):
        await log.append(sound_frames(sound[frame * 640 : (frame + 1) * 640]))
        await asyncio.sleep(0.04)


async def played(server: RunningServer, task_id: str, frames: int) -> dict[str, Any]:
    while True:
        task: dict[str, Any] = (await server.http.get(f"/v1/tasks/{task_id}")).json()
        if task["frames"]["played"] >= frames:
            return task
        await asyncio.sleep(0.05)


async def test_speech_is_heard_while_it_is_still_spoken(server: RunningServer) -> None:
    log = await begin(server, "live")
    speaking = asyncio.create_task(speak(log, 100))
    task = await played(server, "live", 25)
    assert not speaking.done() and log.frames < 100
    assert (task["state"], task["source"], task["duration_s"], task["progress"]) == ("streaming", "stream", None, None)
    assert task["frames"]["total"] is None and 0 < task["frames"]["heard"] <= log.frames
    await speaking
    log.seal()
    await server.orchestrator.board.received("live")
    over = await server.task("live", "done")
    # The mouth closes in two silent frames behind it.
    assert over["frames"] == {"total": 102, "generated": 102, "played": 102, "heard": 100, "dropped": 0}
    assert over["duration_s"] == 4.0


async def test_source_that_is_lost_ends_the_speech_when_what_came_was_played(server: RunningServer) -> None:
    log = await begin(server, "live")
    await speak(log, 40)
    log.break_off("source_lost")
    await server.orchestrator.board.received("live", "The connection was lost.")
    over = await server.task("live", "failed")
    assert over["error"]["code"] == "source_lost" and over["frames"]["heard"] == 40


async def test_source_that_pauses_leaves_idle_and_goes_on_where_it_was(server: RunningServer) -> None:
    log = await begin(server, "live")
    await speak(log, 30)
    await asyncio.sleep(2)
    await speak(log, 30)
    log.seal()
    await server.orchestrator.board.received("live")
    over = await server.task("live", "done")
    assert over["frames"]["heard"] == 60 and over["frames"]["played"] == 62, "nothing is skipped"
    channel = (await server.http.get("/v1/channels/main")).json()
    assert channel["stream"]["late_waits"] >= 1 and channel["restarts"] == 0


async def test_interrupt_says_how_much_was_heard_while_the_source_still_sends(server: RunningServer) -> None:
    log = await begin(server, "live")
    speaking = asyncio.create_task(speak(log, 200))
    await played(server, "live", 20)
    answer = await server.http.post("/v1/channels/main/interrupt", json={})
    assert answer.status_code == 200, answer.text
    over = await server.task("live", "cancelled")
    assert 20 <= over["frames"]["heard"] <= log.frames
    assert log.end is not None and log.end.broken_off == "cancelled"
    with pytest.raises(RuntimeError, match="has ended"):
        await speaking


async def test_microphone_that_arrived_at_once_leaves_out_its_pause(server: RunningServer) -> None:
    log = await begin(server, "live", SpeechSource.MICROPHONE)
    await log.append(sound_frames(noise(30)))
    await log.append(sound_frames(noise(100) * 0))
    await log.append(sound_frames(noise(30)))
    log.seal()
    await server.orchestrator.board.received("live")
    over = await server.task("live", "done")
    assert over["frames"]["total"] < 120 and over["frames"]["played"] == over["frames"]["total"]
    assert over["frames"]["heard"] == 160


async def test_upload_waits_behind_live_speech(server: RunningServer) -> None:
    log = await begin(server, "live")
    speaking = asyncio.create_task(speak(log, 60))
    await played(server, "live", 10)
    await server.orchestrator.board.submit(
        Task("upload", "main", steps=2, guidance=1.0, seed=1, duration_s=None, created_at=0.0),
        [sound_frames(noise(10))],
    )
    await speaking
    assert (await server.http.get("/v1/tasks/upload")).json()["state"] == "queued"
    log.seal()
    await server.orchestrator.board.received("live")
    await server.task("live", "done")
    await server.task("upload", "done")
