"""A store of each earlier version is brought to the present one, and what waited in it is said."""

import dataclasses
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from orchestrator.tasks import schema
from orchestrator.tasks.database import TaskStoreError
from orchestrator.tasks.task import Failure, TaskState
from speech.log import LogEnd, as_stored
from tests.support.boards import SPEECH, board_in, task

VERSIONS = Path(__file__).with_name("versions")
PRESENT = len(schema.STEPS)

# What a later version may do: another column that is not needed, and a renamed table's way through a copy.
NEXT_STEP = """
CREATE TABLE copy (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, duration_s REAL) STRICT;
INSERT INTO copy SELECT number, id, duration_s FROM tasks;
"""


def store_of(version: int, folder: Path) -> Path:
    path = folder / "tasks.sqlite3"
    with sqlite3.connect(path) as db:
        db.executescript((VERSIONS / f"{version}.sql").read_text())
    db.close()
    return path


def store_speech(folder: Path, task_id: str, version: int) -> None:
    """The speech of a task as that version stored it: without what viewers hear before version 4."""
    if version < 4:
        (folder / f"{task_id}.pcm").write_bytes(SPEECH.heard.astype("<i2").tobytes()[:-2])
    else:
        (folder / f"{task_id}.speech").write_bytes(as_stored(SPEECH))


def version_of(path: Path) -> int:
    with sqlite3.connect(path) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
    db.close()
    return int(version)


def test_each_version_has_a_store_to_be_tested_with() -> None:
    assert sorted(path.stem for path in VERSIONS.iterdir()) == [str(number) for number in range(1, PRESENT + 1)]


@pytest.mark.parametrize("version", range(1, PRESENT + 1))
async def test_store_of_an_earlier_version_is_read_and_what_waited_is_given_out(tmp_path: Path, version: int) -> None:
    path = store_of(version, tmp_path)
    for name in ("playing", "waiting"):
        store_speech(tmp_path, name, version)
    board = board_in(tmp_path)
    await board.open()
    assert version_of(path) == PRESENT
    failed = await board.get("failed")
    assert failed is not None
    assert (failed.state, failed.failure) == (TaskState.FAILED, Failure("interrupted", "Interrupted 3 times."))
    assert [each.id for each in await board.newest(10)] == ["waiting", "playing", "failed", "done"]
    given = [await board.take("main") for _ in range(2)]
    assert [(taken.id, taken.attempts, log.frames) for taken, log in given] == [
        ("playing", 2, 3),
        ("waiting", 1, 3),
    ]
    done = await board.get("done")
    assert done is not None and done.file_name == (None if version < 3 else "greeting.wav")
    await board.submit(dataclasses.replace(task("new"), file_name="new.wav"), [SPEECH])
    (new,) = await board.newest(1)
    assert (new.id, new.file_name) == ("new", "new.wav")
    await board.aclose()


async def test_speech_of_an_earlier_version_is_heard_as_it_was(tmp_path: Path) -> None:
    store_of(3, tmp_path)
    times = np.arange(16_000) / 16_000
    voice = np.rint(9000 * np.sin(2 * np.pi * 440 * times) + 5000 * np.sin(2 * np.pi * 3000 * times)).astype(np.int16)
    for name in ("playing", "waiting"):
        (tmp_path / f"{name}.pcm").write_bytes(voice[:-100].astype("<i2").tobytes())
    board = board_in(tmp_path)
    await board.open()
    assert {path.name for path in tmp_path.iterdir() if path.suffix in (".pcm", ".speech")} == {
        "playing.speech",
        "waiting.speech",
    }
    assert list((tmp_path / "incoming").iterdir()) == []
    _, log = await board.take("main")
    speech = await log.read(0, 99)
    assert (len(speech), log.end) == (25, LogEnd())
    np.testing.assert_array_equal(speech.heard.reshape(-1), np.append(voice[:-100], np.zeros(100, np.int16)))
    times = np.arange(48_000) / 48_000
    truth = 9000 * np.sin(2 * np.pi * 440 * times) + 5000 * np.sin(2 * np.pi * 3000 * times)
    middle = slice(480, 47_000)
    assert np.abs(speech.sound.reshape(-1)[middle] - truth[middle]).max() < 15, "-60 dB of the voice"
    await board.aclose()


async def test_numbers_of_deleted_tasks_are_not_given_out_again(tmp_path: Path) -> None:
    path = store_of(3, tmp_path)
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM tasks WHERE number = 5")
    db.close()
    board = board_in(tmp_path)
    await board.open()
    await board.submit(task("new"), [SPEECH])
    await board.aclose()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT number FROM tasks ORDER BY number").fetchall() == [(1,), (2,), (4,), (6,)]
        assert db.execute("SELECT name, seq FROM sqlite_sequence").fetchall() == [("tasks", 6)]
    db.close()


async def test_copy_of_the_table_that_fails_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store_of(3, tmp_path)
    before = contents(path)
    # Before its last statement: by then the old table is gone.
    *_, broken = schema.STEPS
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS[:3], broken.replace("CREATE INDEX", "CREATE NONSENSE")))
    with pytest.raises(TaskStoreError, match="NONSENSE"):
        await board_in(tmp_path).open()
    assert (version_of(path), contents(path)) == (3, before)


def contents(path: Path) -> list[str]:
    with sqlite3.connect(path) as db:
        lines = list(db.iterdump())
    db.close()
    return lines


async def test_step_of_the_next_version_is_applied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store_of(PRESENT, tmp_path)
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, NEXT_STEP))
    for _ in range(2):
        board = board_in(tmp_path)
        await board.open()
        await board.aclose()
        assert version_of(path) == PRESENT + 1
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT id FROM copy ORDER BY number").fetchall() == [
            ("done",),
            ("failed",),
            ("playing",),
            ("waiting",),
        ]
    db.close()


async def test_step_that_fails_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store_of(PRESENT, tmp_path)
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, NEXT_STEP + "INSERT INTO nowhere VALUES (1);"))
    with pytest.raises(TaskStoreError, match="nowhere"):
        await board_in(tmp_path).open()
    assert version_of(path) == PRESENT
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM tasks").fetchone() == (4,)
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'copy'").fetchone() == (0,)
    db.close()
