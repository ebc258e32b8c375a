"""A store of each earlier version is brought to the present one, and what waited in it is said."""

import dataclasses
import sqlite3
from pathlib import Path

import pytest

from orchestrator.tasks import schema
from orchestrator.tasks.database import TaskStoreError
from orchestrator.tasks.speech_files import SpeechFiles
from orchestrator.tasks.task import Failure, TaskState
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
    files = SpeechFiles(tmp_path)
    files.open(set())
    for name in ("playing", "waiting"):
        files.write(name, SPEECH)
    board = board_in(tmp_path)
    await board.open()
    assert version_of(path) == PRESENT
    failed = await board.get("failed")
    assert failed is not None
    assert (failed.state, failed.failure) == (TaskState.FAILED, Failure("interrupted", "Interrupted 3 times."))
    assert [each.id for each in await board.newest(10)] == ["waiting", "playing", "failed", "done"]
    given = [await board.take("main") for _ in range(2)]
    assert [(taken.id, taken.attempts, len(pcm)) for taken, pcm in given] == [
        ("playing", 2, len(SPEECH)),
        ("waiting", 1, len(SPEECH)),
    ]
    done = await board.get("done")
    assert done is not None and done.file_name == (None if version < 3 else "greeting.wav")
    await board.submit(dataclasses.replace(task("new"), file_name="new.wav"), SPEECH)
    (new,) = await board.newest(1)
    assert (new.id, new.file_name) == ("new", "new.wav")
    await board.aclose()


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
