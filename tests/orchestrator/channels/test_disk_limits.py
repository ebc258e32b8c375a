"""What recordings and logs may take of a disk, and which of them are deleted."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.channels.disk_limits import DiskLimits
from orchestrator.channels.recordings import RecordingsLimit, delete_oldest
from orchestrator.observability.log_files import KEPT, rotate_logs
from tests.support.running_server import settings_in

NOW = 1_000_000.0
DAY_S = 24 * 3600.0


def recorded(folder: Path, name: str, age_s: float, size: int = 100) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (NOW - age_s, NOW - age_s))
    return path


def deleted(folder: Path, **limit: float) -> list[str]:
    gone = delete_oldest(folder, RecordingsLimit(**limit), lambda: NOW)  # type: ignore[arg-type]
    assert not any(path.exists() for path in gone)
    return [path.name for path in gone]


def test_oldest_recordings_are_deleted_until_the_size_is_kept(tmp_path: Path) -> None:
    for age, name in enumerate(("d.flv", "c.ts", "news/b.mp4", "a.flv"), start=1):
        recorded(tmp_path, name, age * 1000)
    assert deleted(tmp_path, size_bytes=250) == ["a.flv", "b.mp4"]
    assert deleted(tmp_path, size_bytes=250) == []


def test_recordings_that_are_too_old_are_deleted_and_other_files_are_not(tmp_path: Path) -> None:
    for name, days in (("old.flv", 8), ("young.flv", 6), ("notes.txt", 100)):
        recorded(tmp_path, name, days * DAY_S)
    assert deleted(tmp_path, age_s=7 * DAY_S) == ["old.flv"]
    assert (tmp_path / "notes.txt").exists()


def test_file_that_is_being_recorded_is_never_deleted(tmp_path: Path) -> None:
    recorded(tmp_path, "live.flv", 5, size=10_000)
    recorded(tmp_path, "before.flv", 500)
    assert deleted(tmp_path, size_bytes=1, age_s=1) == ["before.flv"]


def test_nothing_is_deleted_without_a_limit(tmp_path: Path) -> None:
    recorded(tmp_path, "old.flv", 1000 * DAY_S)
    assert deleted(tmp_path) == []
    settings = settings_in(tmp_path)
    assert (settings.recordings_limit_bytes, settings.recordings_limit_days, settings.recording_length_s) == (
        None,
        None,
        0,
    )
    assert settings_in(tmp_path, recordings_limit_days=7).recording_length_s == 3600, "a limit needs files that end"


def test_log_of_a_running_child_is_rotated_and_its_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "main.log"
    says = "import sys\nfor line in sys.stdin: print('x' * 999, file=sys.stderr, flush=True); print(flush=True)"
    with path.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", says], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    assert child.stdin is not None and child.stdout is not None
    for _ in range(200):
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        size = path.stat().st_size
        assert size <= 21_000
        rotate_logs(tmp_path, 20_000)
        assert size <= 20_000 or (tmp_path / "main.log.1").stat().st_size == size
    child.communicate()
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"main.log", *(f"main.log.{n}" for n in range(1, KEPT + 1))}
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= (KEPT + 1) * 21_000


def test_disk_fault_is_logged_once_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path, recordings_limit_days=1.0)
    settings.recordings_dir.mkdir(parents=True)
    old = settings.recordings_dir / "old.flv"
    old.touch()
    os.utime(old, (0, 0))
    limits = DiskLimits(settings)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", refuse)
        for _ in range(3):
            limits.apply()
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1 and "recordings" in errors[0] and "Read-only" in errors[0]
    limits.apply()
    assert not old.exists()
