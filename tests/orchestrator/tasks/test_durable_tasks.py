"""Accepted tasks outlive the process: what a restart finds, and what it does with it."""

import asyncio
import errno
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.tasks.board import MAX_ATTEMPTS, QueueFull
from orchestrator.tasks.database import StoreUnavailable, TaskDatabase, TaskStoreError
from orchestrator.tasks.store import TaskStore
from orchestrator.tasks.task import Failure, Stage, Task, TaskState
from tests.support.boards import SPEECH, assert_whole, board_in, task
from tests.support.checkout import ROOT
from tests.support.held_taking import hold_taking

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.support.boards import SPEECH, board_in, task

async def main():
    board = board_in(Path(sys.argv[1]))
    await board.open()
    for name in ("first", "second", "third"):
        await board.submit(task(name), [SPEECH])
    await board.take("main")
    (Path(sys.argv[1]) / "incoming" / "half an upload").write_bytes(b"RIFF")
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_killed_server_loses_no_task_and_begins_the_interrupted_one_again(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(tmp_path), cwd=ROOT, stderr=subprocess.DEVNULL
    )
    assert await process.wait() == -9

    board = board_in(tmp_path)
    await board.open()
    assert list((tmp_path / "incoming").iterdir()) == []
    for name, attempts in (("first", 2), ("second", 1), ("third", 1)):
        taken, log = await board.take("main")
        assert (taken.id, taken.attempts) == (name, attempts)
        await assert_whole(log)
    await board.aclose()


async def test_task_that_is_interrupted_again_and_again_is_reported(tmp_path: Path) -> None:
    board = board_in(tmp_path)
    await board.open()
    await board.submit(task("poison"), [SPEECH])
    for _ in range(MAX_ATTEMPTS):
        await board.take("main")
        await board.requeue("poison", "its channel stopped")
    found = await board.get("poison")
    assert found is not None and found.state is TaskState.FAILED
    assert found.failure is not None and found.failure.code == "interrupted"
    await board.aclose()


async def test_ordered_stop_does_not_count_as_an_attempt(tmp_path: Path) -> None:
    board = board_in(tmp_path)
    await board.open()
    await board.submit(task("patient"), [SPEECH])
    for _ in range(MAX_ATTEMPTS + 1):
        taken, _log = await board.take("main")
        assert taken.attempts == 1
        await board.requeue("patient", "the server stops", blameless=True)
    await board.aclose()


async def test_finished_task_leaves_no_speech_and_keeps_its_timings(tmp_path: Path) -> None:
    board = board_in(tmp_path)
    await board.open()
    await board.submit(task("short"), [SPEECH])
    await board.take("main")
    await board.stream("short")
    await board.finish("short", TaskState.DONE)
    await board.finish("short", TaskState.FAILED)
    assert list(tmp_path.glob("*.speech")) == []
    await board.aclose()

    board = board_in(tmp_path)
    await board.open()
    found = await board.get("short")
    assert found is not None and found.state is TaskState.DONE
    assert found.as_json()["timings_s"]["first_frame"] == 1.0
    await board.aclose()


async def test_no_stage_is_told_as_before_the_one_whose_news_came_late(tmp_path: Path) -> None:
    board = board_in(tmp_path)
    await board.open()
    await board.submit(task("short"), [SPEECH])
    await board.take("main")
    await board.stream("short")
    found = board.stamp("short", Stage.ENCODED_OPUS, age_s=0.2)
    assert found is not None
    told = found.as_json()["timings_s"]
    assert told["encoded_opus"] == told["first_frame"] == 1.0
    await board.aclose()


async def test_history_is_bounded_and_waiting_tasks_stay(tmp_path: Path) -> None:
    board = board_in(tmp_path, history=2)
    await board.open()
    for number in range(5):
        await board.submit(task(f"t{number}"), [SPEECH])
    for number in range(4):
        await board.finish(f"t{number}", TaskState.CANCELLED)
    assert [each.id for each in await board.newest(10)] == ["t4", "t3", "t2"]
    await board.aclose()


async def test_places_in_the_queue_are_not_given_twice(tmp_path: Path) -> None:
    board = board_in(tmp_path, queue_limit=3)
    await board.open()
    outcomes = await asyncio.gather(
        *(board.submit(task(f"t{number}"), [SPEECH]) for number in range(8)), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 3
    assert sum(isinstance(outcome, QueueFull) for outcome in outcomes) == 5
    await board.aclose()


async def test_task_cancelled_while_it_is_taken_is_not_handed_out(tmp_path: Path) -> None:
    board = board_in(tmp_path)
    await board.open()
    await board.submit(task("gone"), [SPEECH])
    await board.submit(task("kept"), [SPEECH])
    taking = asyncio.create_task(board.take("main"))
    await asyncio.sleep(0)
    await board.finish("gone", TaskState.CANCELLED)
    taken, _log = await taking
    assert taken.id == "kept"
    await board.aclose()


async def test_store_of_a_newer_version_is_refused_by_name_and_left_as_it_is(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "tasks.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(TaskStoreError, match="version 99"):
        await board_in(tmp_path).open()
    with sqlite3.connect(tmp_path / "tasks.sqlite3") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (99,)
    db.close()


def fill_up(store: TaskStore, full: bool) -> None:
    """Lets SQLite's file grow no more, or again: it meets its own limit as it meets a full disk."""
    db = store._database._db
    assert db is not None
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages if full else 1 << 30}")


async def test_states_that_a_full_disk_does_not_take_are_written_once_there_is_room(tmp_path: Path) -> None:
    store = TaskStore(tmp_path / "tasks.sqlite3")
    await store.open()
    first = replace(task("first"), stamps={"decoded": 1.0})
    await store.add(first)
    await store._run(lambda: fill_up(store, True))
    large = replace(first, state=TaskState.DONE, failure=Failure("code", "x" * 100_000))
    await store.save(large)
    with pytest.raises(OSError, match="can't be written") as refused:
        await store.add(replace(large, id="second"))
    assert refused.value.errno == errno.ENOSPC
    assert await store.get("first") == large, "what could not be written is known all the same"
    assert (await store.newest(5))[0] == large
    await store._run(lambda: fill_up(store, False))
    while store.unwritten:
        await asyncio.sleep(0.05)
    await store.aclose()
    again = TaskStore(tmp_path / "tasks.sqlite3")
    await again.open()
    assert await again.get("first") == large
    await again.aclose()


async def test_states_that_are_saved_at_once_need_no_retry(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = TaskStore(tmp_path / "tasks.sqlite3")
    await store.open()
    tasks = [task(f"t{number}") for number in range(9)]
    for each in tasks:
        await store.add(each)
    await asyncio.gather(*(store.save(replace(each, state=TaskState.DONE)) for each in tasks))
    assert store.unwritten == 0
    await store.aclose()
    assert "on the disk again" not in caplog.text and store._retrying is None


async def test_task_that_is_cancelled_while_it_is_taken_is_not_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = board_in(tmp_path)
    await board.open()
    held, released = hold_taking(monkeypatch)
    for name in ("first", "second"):
        await board.submit(task(name), [SPEECH])
    taking = asyncio.create_task(board.take("main"))
    await held.wait()
    assert (board.taken("main"), board.queued("main")) == (["first"], ["second"])
    await board.finish("first", TaskState.CANCELLED)
    released.set()
    taken, _log = await taking
    assert taken.id == "second"
    await board.aclose()


async def test_speech_is_kept_until_its_final_state_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(database: TaskDatabase, task: Task) -> None:
        raise StoreUnavailable("locked")

    board = board_in(tmp_path)
    await board.open()
    await board.submit(task("short"), [SPEECH])
    await board.take("main")
    with monkeypatch.context() as locked:
        locked.setattr(TaskDatabase, "update", unavailable)
        await board.finish("short", TaskState.DONE)
        found = await board.get("short")
        assert found is not None and found.state is TaskState.DONE
        assert [path.stem for path in tmp_path.glob("*.speech")] == ["short"], "a crash now would have to say it again"
    while list(tmp_path.glob("*.speech")):
        await asyncio.sleep(0.05)
    await board.aclose()


async def test_a_write_that_waited_does_not_bring_an_earlier_state_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TaskStore(tmp_path / "tasks.sqlite3")
    await store.open()
    names = ("first", "second", "third")
    for name in names:
        await store.add(task(name))
    gate, update, written = threading.Semaphore(0), TaskDatabase.update, []

    def held(database: TaskDatabase, changed: Task) -> None:
        gate.acquire()
        update(database, changed)
        written.append(changed.id)

    async def write_until(save: asyncio.Task[None]) -> None:
        while not save.done():
            count = len(written)
            gate.release()
            while len(written) == count and not save.done():
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)  # in which the batches go on

    with monkeypatch.context() as patch:
        patch.setattr(TaskDatabase, "update", held)
        saves = []
        for name in names:
            saves.append(asyncio.create_task(store.save(replace(task(name), state=TaskState.STREAMING))))
            await asyncio.sleep(0.01)
        await write_until(saves[1])  # the batch of the third save, which has all three in it, comes to its own last
        saves.append(asyncio.create_task(store.save(replace(task("third"), state=TaskState.DONE))))
        for save in saves:
            await write_until(save)
    assert [(each.id, each.state) for each in await store.newest(3)] == [
        ("third", TaskState.DONE), ("second", TaskState.STREAMING), ("first", TaskState.STREAMING)
    ]  # fmt: skip
    await store.aclose()
