"""A copy of all that a data folder holds and nothing else can make again, and a data folder made out of one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.exclusive import serving
from orchestrator.settings import Settings
from orchestrator.tasks import earlier_speeches, speech_files
from orchestrator.tasks.database import TaskDatabase, TaskStoreError

_VERSION = 1
_RECORD, _TASKS, _AVATARS, _CHANNELS, _KEYS = "backup.json", "tasks", "avatars", "channels.json", "keys.json"
_DATABASE = "tasks.sqlite3"
_ATTEMPTS = 5
_FOLDER_MODE = 0o700


class BackupError(RuntimeError):
    """A backup can't be made or used; the message says why and what to do."""


def back_up(settings: Settings, target: Path) -> None:
    """Write tasks with their speeches, avatars, channels and keys into a new folder, or into a new file `….tar`.

    A server may run meanwhile: what is copied belongs together. The copy is there whole or not at all, and for its
    owner alone, since it holds stream keys. Raises BackupError, and OSError when there is no room.
    """
    if target.exists():
        raise BackupError(f"{target} exists already: choose another name")
    if not settings.data_dir.is_dir():
        raise BackupError(f"there is no data folder {settings.data_dir}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        copy = Path(folder) / "copy"
        copy.mkdir(mode=_FOLDER_MODE)
        _copy_tasks(settings.tasks_dir, copy / _TASKS)
        _copy_avatars(settings.avatars_dir, copy / _AVATARS)
        for source, name in ((settings.data_dir / _CHANNELS, _CHANNELS), (settings.keys_path, _KEYS)):
            with contextlib.suppress(FileNotFoundError):  # each is replaced as a whole, so one read is consistent
                shutil.copy2(source, copy / name)
        (copy / _RECORD).write_text(json.dumps({"version": _VERSION}))
        if target.suffix == ".tar":
            copy = _packed(copy, Path(folder) / "copy.tar")
        copy.rename(target)


def restore(settings: Settings, source: Path) -> None:
    """Make the data folder of the settings out of a backup.

    Raises BackupError where it holds anything already, or the backup is damaged, and LockRefused where it is in use.
    """
    with serving(settings, "restore"):
        present = sorted(path.name for path in settings.data_dir.iterdir() if path.suffix != ".lock")
        if present:
            raise BackupError(
                f"the data folder {settings.data_dir} is not empty (it has {', '.join(present[:3])}): "
                "choose another data_dir, or move its content away"
            )
        if settings.keys_path.exists():
            raise BackupError(f"there are keys in {settings.keys_path}: move the file away")
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=settings.data_dir) as folder:
            copy = Path(folder) / "copy"
            _read_backup(source, copy)
            keys = copy / _KEYS
            if keys.exists():
                settings.keys_path.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(keys, settings.keys_path)
            (copy / _RECORD).unlink()
            for path in sorted(copy.iterdir()):
                path.rename(settings.data_dir / path.name)


def _copy_tasks(source: Path, target: Path) -> None:
    """The list of tasks at one moment, and the speeches of those that weren't finished at that moment."""
    target.mkdir()
    if not (source / _DATABASE).exists():
        return
    with _speeches(source) as held:
        for _ in range(_ATTEMPTS):
            unfinished = _copy_database(source / _DATABASE, target / _DATABASE)
            if all(_copy_speech(task_id, (held, source), target) for task_id in unfinished):
                return
            # A task was accepted and ended during the copy, so that its speech is missing: copy again.
    raise BackupError(f"the speeches in {source} don't belong to the tasks there; the server's log says more")


def _copy_speech(task_id: str, sources: Iterable[Path], target: Path) -> bool:
    """Whether a task's speech was in one of the folders; the last one has those that were accepted since."""
    for folder in sources:
        for suffix in (speech_files.SUFFIX, earlier_speeches.SUFFIX):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(folder / f"{task_id}{suffix}", target / f"{task_id}{suffix}")
                return True
    return False


@contextmanager
def _speeches(source: Path) -> Iterator[Path]:
    """A folder with all speeches of this moment, which stay there when the server deletes them."""
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=source) as folder:
        for speech in speech_files.speeches_in(source):
            with contextlib.suppress(FileNotFoundError):
                os.link(speech, Path(folder) / speech.name)
        yield Path(folder)


def _copy_database(source: Path, target: Path) -> list[str]:
    """The ids of the unfinished tasks in the copy."""
    try:
        with contextlib.closing(sqlite3.connect(source)) as live, contextlib.closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file
        return _unfinished(target)
    except (sqlite3.Error, TaskStoreError) as error:
        raise BackupError(f"{source} can't be copied ({error})") from None


def _unfinished(path: Path) -> list[str]:
    database = TaskDatabase(path)
    try:
        if database.open() is not None:
            raise TaskStoreError("it is damaged")
        return [task.id for task in database.unfinished()]
    finally:
        database.close()


def _copy_avatars(source: Path, target: Path) -> None:
    target.mkdir()
    if not source.is_dir():
        return
    for avatar in sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith(".")):
        for attempt in range(_ATTEMPTS):
            try:
                inode = avatar.stat().st_ino
                shutil.copytree(avatar, target / avatar.name)
                if avatar.stat().st_ino == inode:
                    break
            except (FileNotFoundError, shutil.Error):
                if not avatar.exists():  # removed during the copy
                    break
                if attempt == _ATTEMPTS - 1:
                    raise
            shutil.rmtree(
                target / avatar.name, ignore_errors=True
            )  # replaced during the copy: these files are of two avatars
        if not avatar.exists():
            shutil.rmtree(target / avatar.name, ignore_errors=True)


def _packed(folder: Path, path: Path) -> Path:
    with path.open("xb") as file, tarfile.open(fileobj=file, mode="w") as archive:
        path.chmod(0o600)
        archive.add(folder, arcname=".")
    return path


def _read_backup(source: Path, target: Path) -> None:
    """Copies or unpacks a backup, and checks that it is one and that its tasks can be read."""
    try:
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            with tarfile.open(source) as archive:
                archive.extractall(target, filter="data")
        version = json.loads((target / _RECORD).read_text())["version"]
    except FileNotFoundError as error:
        raise BackupError(f"{source} is no backup: there is no {Path(error.filename).name}") from None
    except tarfile.ReadError:  # its text lists every kind of compression that was tried
        raise BackupError(f"{source} can't be read as a backup: it is no tar archive, or a cut one") from None
    except (tarfile.TarError, OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{source} can't be read as a backup ({error})") from None
    if version != _VERSION:
        raise BackupError(f"{source} has version {version}, and this program reads version {_VERSION}")
    database = target / _TASKS / _DATABASE
    if database.exists():
        try:
            _unfinished(database)
        except TaskStoreError as error:
            raise BackupError(f"{source}: the list of tasks can't be used ({error})") from None
