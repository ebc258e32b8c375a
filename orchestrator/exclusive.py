"""Locks between processes: two of them must not write the same files, or replace what the other one reads."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from orchestrator.avatars.store import avatar_directory
from orchestrator.settings import Settings


class LockRefused(RuntimeError):
    """A lock is held by another process, or can't be taken; the message says by which one, and what to do."""


@contextmanager
def serving(settings: Settings, command: str) -> Iterator[None]:
    """This process alone runs the channels and tasks of the data folder; raises LockRefused."""
    with _locked(settings.data_dir / ".serve.lock", command, f"The data folder {settings.data_dir}", _OTHER_FOLDER):
        yield


@contextmanager
def running_triton(settings: Settings, command: str) -> Iterator[None]:
    """This process alone runs tritonserver on the data folder, whose model repository stays; raises LockRefused."""
    what = f"Triton's part of the data folder {settings.data_dir}"
    with (
        _locked(settings.data_dir / ".triton.lock", command, what, _OTHER_FOLDER),
        _repository(settings.model_repository, command, shared=True),
    ):
        yield


@contextmanager
def replacing_repository(repository: Path) -> Iterator[None]:
    """This process alone writes the model repository, and no `triton` or `demo` serves it; raises LockRefused."""
    with _repository(repository, "export", shared=False):
        yield


@contextmanager
def changing_avatar(settings: Settings, name: str) -> Iterator[None]:
    """This process alone prepares, renames or removes an avatar of that name; a channel may play it meanwhile.

    Raises LockRefused, and AvatarError for a name that is not allowed.
    """
    avatar_directory(settings.avatars_dir, name)
    path = settings.run_dir / f"avatar-{name}.lock"
    with _locked(path, "avatar", f"Avatar {name!r}", "wait until it has ended, or choose another name"):
        yield


@contextmanager
def playing_avatar(settings: Settings, name: str) -> Iterator[None]:
    """A channel plays the avatar of that name, as others may; raises LockRefused while it is renamed or removed."""
    with _locked(_playing(settings, name), "a channel", f"Avatar {name!r}", "wait until it has ended", shared=True):
        yield


@contextmanager
def moving_avatar(settings: Settings, name: str) -> Iterator[None]:
    """No channel of any process plays the avatar of that name, and no other one prepares, renames or removes it.

    Raises LockRefused, and AvatarError for a name that is not allowed.
    """
    remedy = "give that channel another avatar first, or stop its server"
    with (
        changing_avatar(settings, name),
        _locked(_playing(settings, name), "avatar", f"Avatar {name!r}", remedy),
    ):
        yield


@contextmanager
def renaming_avatar(settings: Settings, name: str, new_name: str) -> Iterator[None]:
    """As `moving_avatar`, and no other process prepares, renames or removes one of the new name."""
    taking = (
        nullcontext() if new_name == name else changing_avatar(settings, new_name)
    )  # a lock shuts out its holder too
    with moving_avatar(settings, name), taking:
        yield


def _playing(settings: Settings, name: str) -> Path:
    return settings.run_dir / f"avatar-{name}.playing.lock"


_OTHER_FOLDER = "stop it first, or choose another data_dir"


@contextmanager
def _repository(repository: Path, command: str, shared: bool) -> Iterator[None]:
    path = repository.with_name(f".{repository.name}.lock")
    with _locked(path, command, f"The model repository {repository}", "stop it first, or use another --output", shared):
        yield


@contextmanager
def _locked(path: Path, command: str, what: str, remedy: str, shared: bool = False) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The kernel lets go of the lock when the process ends, however it ends; the file stays for the next one.
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise LockRefused(f"{what} can't be locked: {path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            raise LockRefused(f"{what} is in use by {holder}: {remedy}") from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} ({command})\n".encode(), 0)
        yield
    finally:
        os.close(file)
