"""The folder of prepared avatars: names, listing, renaming, removal."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from latentsync.avatar import AvatarError, PreparedAvatar
from latentsync.avatar_writer import remove_abandoned
from latentsync.motions import MOTIONS_FOLDER
from orchestrator.avatars.errors import AvatarExists, AvatarNotFound
from orchestrator.fields import AVATAR_NAME

_NAME = re.compile(AVATAR_NAME)
_NAMED = 20


def checked_name(name: str) -> str:
    """The name itself; raises `AvatarError` for one that is not allowed."""
    if not _NAME.fullmatch(name):
        raise AvatarError(f"{name!r} cannot be an avatar's name: use a-z, 0-9, '-' and '_', at most 64 of them")
    return name


def avatar_directory(directory: Path, name: str) -> Path:
    """Where the avatar `name` lies or will lie; raises `AvatarError` for a name that is not allowed."""
    return directory / checked_name(name)


def avatar_names(directory: Path) -> list[str]:
    """The names of all prepared avatars, also of those that can't be opened."""
    folders = directory.iterdir() if directory.is_dir() else ()
    return sorted(path.name for path in folders if _NAME.fullmatch(path.name) and path.is_dir())


def known_avatars(directory: Path) -> str:
    """Which avatars there are, as the end of a sentence about one that there is not."""
    names = avatar_names(directory)
    if not names:
        return "there is none yet"
    left = len(names) - _NAMED
    return f"there is {', '.join(names[:_NAMED])}" + (f" and {left} more" if left > 0 else "")


def list_avatars(directory: Path) -> list[PreparedAvatar]:
    """All avatars that can be opened, by name; folders that can't be are left out."""
    avatars = []
    for name in avatar_names(directory):
        try:
            avatars.append(PreparedAvatar.open(directory / name))
        except AvatarError:
            continue  # of another version, or not an avatar: `PreparedAvatar.open` tells whoever asks for it by name
    return avatars


def find_avatar(directory: Path, name: str) -> PreparedAvatar:
    """The avatar `name`; raises `AvatarNotFound`, and `AvatarError` for one that is damaged."""
    return PreparedAvatar.open(existing_avatar(directory, name))


def rename_avatar(directory: Path, name: str, new_name: str) -> None:
    """Give the avatar `name` another name; raises `AvatarNotFound`, `AvatarExists`, `AvatarError` for a bad name."""
    folder, target = existing_avatar(directory, name), avatar_directory(directory, new_name)
    if target.exists():
        raise AvatarExists(f"there is an avatar {new_name!r} already: remove it first, or choose another name")
    folder.rename(target)


def remove_avatar(directory: Path, name: str) -> None:
    """Delete the avatar `name`; raises `AvatarNotFound`. A channel that plays it keeps its mapped files."""
    folder = existing_avatar(directory, name)
    # Renamed first: an interrupted removal leaves no incomplete avatar under the name.
    doomed = directory / f".{name}.removed"
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def remove_leftovers(directory: Path) -> None:
    """Delete what killed processes have left of avatars and motions that they prepared or removed."""
    for folder in (directory, *directory.glob(f"*/{MOTIONS_FOLDER}")):
        remove_abandoned(folder)
        for doomed in folder.glob(".*.removed"):
            shutil.rmtree(doomed, ignore_errors=True)


def existing_avatar(directory: Path, name: str) -> Path:
    """The folder of an avatar; raises `AvatarNotFound`, and `AvatarError` for a bad name."""
    folder = avatar_directory(directory, name)
    if not folder.is_dir():
        raise AvatarNotFound(f"there is no avatar {name!r}; {known_avatars(directory)}")
    return folder
