"""What an interrupt's answer says was heard, in each state of a task. The channel and its ffmpeg are real."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.tasks.task import Task
from speech.source import SpeechSource
from streaming.events import SpeechStarted
from tests.support.logs import noise, sound_frames
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.statuses import status

pytestmark = pytest.mark.timeout(60)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running(settings_in(tmp_path)) as started:
        await started.ready()
        yield started


def task(task_id: str, source: SpeechSource = SpeechSource.UPLOAD) -> Task:
    return Task(task_id, "main", steps=2, guidance=1.0, seed=1, duration_s=None, created_at=1.0, source=source)


async def upload(server: RunningServer, task_id: str, frames: int) -> None:
    await server.orchestrator.board.submit(task(task_id), [sound_frames(noise(frames))])


async def interrupt(server: RunningServer, everything: bool = False) -> dict[str, Any]:
    answer = await server.http.post("/v1/channels/main/interrupt", params={"queue": "true"} if everything else {})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert list(body["heard"]) == body["cancelled"]
    for task_id, heard in body["heard"].items():
        assert heard["seconds"] == pytest.approx(heard["frames"] / 25)
        told = (await server.http.get(f"/v1/tasks/{task_id}")).json()
        assert (told["state"], told["frames"]["heard"]) == ("cancelled", heard["frames"])
    return body


async def stream_state(server: RunningServer, state: str) -> None:
    while (await server.http.get("/v1/channels/main")).json()["stream"]["state"] != state:
        await asyncio.sleep(0.05)


async def test_nothing_was_heard_of_what_is_prepared_queued_or_arriving(server: RunningServer) -> None:
    server.models.gate.clear()
    await upload(server, "prepared", 50)
    await server.task("prepared", "inferring")
    await upload(server, "queued", 50)
    await server.orchestrator.board.begin(task("arriving", SpeechSource.STREAM))
    body = await interrupt(server, everything=True)
    assert body["cancelled"] == ["prepared", "queued", "arriving"]
    assert {heard["frames"] for heard in body["heard"].values()} == {0}


async def test_position_is_told_of_what_plays_and_not_of_what_waits_behind_it(server: RunningServer) -> None:
    await upload(server, "playing", 250)
    await server.task("playing", "streaming")
    await upload(server, "behind", 50)
    while (await server.task("playing", "streaming"))["frames"]["heard"] < 10:
        await asyncio.sleep(0.02)
    # Two at once, as two clients may: in the fade that the first one began, nothing is left to cancel.
    answers = await asyncio.gather(*(interrupt(server, everything=True) for _ in range(2)))
    heard = {task_id: told["frames"] for body in answers for task_id, told in body["heard"].items()}
    assert sorted(task_id for body in answers for task_id in body["cancelled"]) == ["behind", "playing"]
    assert heard["behind"] == 0 and 10 <= heard["playing"] < 250
    assert (await interrupt(server))["cancelled"] == []


async def test_what_waits_for_the_encoder_is_told_as_heard_only_once_it_has_it(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.models.gate.clear()
    await upload(server, "slow", 250)
    speeches = server.orchestrator.channels["main"]._speeches
    while "slow" not in speeches.active:
        await asyncio.sleep(0.01)
    await speeches.receive(SpeechStarted("slow", tick=100, position=100))
    told: list[int] = []
    monkeypatch.setattr(server.orchestrator.board, "progress", lambda _, frames_played: told.append(frames_played))
    for position, waiting in ((104, 5), (119, 10), (129, 10), (129, 0)):
        speeches._note_played(status(position=position, queue_s=waiting / 25))
    assert told == [0, 10, 20, 30]


async def test_speech_that_waits_for_its_sound_was_heard_as_far_as_it_came(server: RunningServer) -> None:
    log = await server.orchestrator.board.begin(task("live", SpeechSource.STREAM))
    await log.append(sound_frames(noise(36)))
    await server.task("live", "streaming")
    await stream_state(server, "waiting")
    # Whisper hears 80 ms and a look-ahead of 200 ms beyond a frame: so much of what came could not be said yet.
    while (await server.task("live", "streaming"))["frames"]["heard"] < 36 - 7 - 4:  # a busy encoder has it later
        await asyncio.sleep(0.05)
    assert 36 - 7 - 4 <= (await interrupt(server))["heard"]["live"]["frames"] <= 36 - 7


async def test_speech_whose_mouth_still_closes_was_heard_to_its_end(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, mouth_fade_frames=25)) as server:
        await server.ready()
        for attempt in range(9):  # its channel tells about each second how far it is, and the fade takes one
            name = f"closing{attempt}"
            await upload(server, name, 30)
            while (told := await server.orchestrator.board.get(name)) and told.frames_heard < 30:
                await asyncio.sleep(0.01)
            if heard := (await interrupt(server))["heard"]:
                assert heard == {name: {"frames": 30, "seconds": 1.2}}
                return
    raise AssertionError("no speech was interrupted while its mouth closed")
