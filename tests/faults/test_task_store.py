"""The task store is locked or damaged while a speech plays: every channel stays on the air, and no task is lost."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from tests.support.running_server import RunningServer, metric, running, settings_in
from tests.support.speech_samples import wav

pytestmark = pytest.mark.timeout(90)

PAGE_BYTES = 4096
UNWRITTEN = "latentsync_task_states_unwritten"
SET_ASIDE = 'latentsync_files_set_aside_total{file="tasks.sqlite3"}'


async def say(server: RunningServer, seconds: float = 0.5) -> str:
    answer = await server.http.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(seconds))})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["task_id"])


async def assert_never_off_the_air(server: RunningServer) -> None:
    """The channel's first process goes on to send frames."""
    first = (await server.http.get("/v1/channels/main")).json()
    assert first["state"] == "running"
    while True:
        view = (await server.http.get("/v1/channels/main")).json()
        assert view["restarts"] == 0, view["problem"]
        if view["stream"]["frames_sent"] > first["stream"]["frames_sent"] + 25:
            return
        await asyncio.sleep(0.1)


async def test_store_that_is_locked_during_a_speech_disturbs_nothing_that_was_accepted(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with running(settings) as server:
        await server.ready()
        playing, waiting = await say(server, 3.0), await say(server)
        await server.task(playing, "streaming")
        other = sqlite3.connect(settings.tasks_dir / "tasks.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        tasks = [await server.task(task_id, "done") for task_id in (playing, waiting)]
        assert [task["attempts"] for task in tasks] == [1, 1]
        assert await metric(server, UNWRITTEN) == 2
        refused = await server.http.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(0.5))})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
        assert "Retry-After" in refused.headers
        await assert_never_off_the_air(server)
        other.close()
        while await metric(server, UNWRITTEN):
            await asyncio.sleep(0.1)
        await server.task(await say(server), "done")
    async with running(settings) as server:
        listed = (await server.http.get("/v1/tasks")).json()["tasks"]
        assert [task["state"] for task in listed] == ["done"] * 3, "written once the store was back"


async def test_store_damaged_during_a_speech_is_set_aside_and_no_task_is_lost(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    path = settings.tasks_dir / "tasks.sqlite3"
    async with running(settings) as server:
        await server.ready()
        playing, waiting = await say(server, 4.0), await say(server)
        await server.task(playing, "streaming")
        damage(path)
        late = await say(server)
        tasks = [await server.task(task_id, "done") for task_id in (playing, waiting, late)]
        assert [task["attempts"] for task in tasks] == [1, 1, 1]
        assert await metric(server, SET_ASIDE) == 1
        await assert_never_off_the_air(server)
    assert (settings.tasks_dir / "tasks.damaged-1.sqlite3").exists()
    async with running(settings) as server:
        assert [task["task_id"] for task in (await server.http.get("/v1/tasks")).json()["tasks"]] == [
            late,
            waiting,
            playing,
        ]


async def test_store_found_damaged_at_the_start_is_set_aside_and_the_stream_begins(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    path = settings.tasks_dir / "tasks.sqlite3"
    async with running(settings) as server:
        await server.ready()
        await server.task(await say(server), "done")
    damage(path)
    async with running(settings) as server:
        await server.ready()
        assert await metric(server, SET_ASIDE) == 1
        await server.task(await say(server), "done")
    kept = settings.tasks_dir / "tasks.damaged-1.sqlite3"
    assert kept.read_bytes()[PAGE_BYTES : 2 * PAGE_BYTES] == b"\xa5" * PAGE_BYTES


def damage(path: Path) -> None:
    """Garbage in the table's first page, also for who reads it from the log that SQLite writes ahead."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with path.open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(b"\xa5" * PAGE_BYTES)
