"""The checkpoints that one server speaks with, and which of them draws whom.

Each avatar is drawn by the checkpoint that it was prepared for. Here only their configurations are read.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from latentsync.avatar import AvatarError, PreparedAvatar
from latentsync.checkpoint import CONFIG_FILE, Checkpoint
from orchestrator.settings import Settings, SettingsError

STARTER = "starter"
"""Folder of the checkpoint for anybody that comes with the checkout."""
PEOPLE = "people"
_NAMED_CHARS = 64


class UnknownCheckpoint(AvatarError):
    """An avatar is asked for that a checkpoint draws which isn't served; the message names those that are."""

    code = "bad_checkpoint"


@dataclass(frozen=True)
class ServedCheckpoints:
    """Those that one Triton holds: `all` of them, the main one first; their names differ, and their Whisper is one."""

    all: tuple[Checkpoint, ...]

    @classmethod
    def open(cls, settings: Settings) -> ServedCheckpoints:
        """Those of the settings; raises CheckpointError for a folder that is none, SettingsError for what can't be.

        Which are served beside the main one where the settings say nothing: `_starter_beside`.
        """
        main, further = Checkpoint.open(settings.checkpoint_dir), settings.further_checkpoints
        if further is None:
            return cls((main, *_starter_beside(main)))
        served = (main, *map(Checkpoint.open, further))
        for number, checkpoint in enumerate(served[1:], start=1):
            _require_beside(checkpoint, served[:number])
        return cls(served)

    @property
    def main(self) -> Checkpoint:
        """The one of `checkpoint_dir`."""
        return self.all[0]

    @property
    def directories(self) -> tuple[Path, ...]:
        """Their folders, the main one's first."""
        return tuple(checkpoint.directory for checkpoint in self.all)

    @property
    def names(self) -> str:
        """Their names, as a part of a sentence."""
        return _listed(repr(checkpoint.name) for checkpoint in self.all)

    def named(self, name: str | None) -> Checkpoint | None:
        """The one of that name, for None the main one; None where there is none."""
        if name is None:
            return self.main
        return next((checkpoint for checkpoint in self.all if checkpoint.name == name), None)

    def of(self, avatar: PreparedAvatar) -> Checkpoint:
        """The one that an avatar was prepared for; raises AvatarError, naming all, where it isn't served.

        Avatars of older versions say nothing of it: they belong to the main one.
        """
        name = avatar.settings.checkpoint
        checkpoint = self.named(name)
        if checkpoint is None:
            served = _listed(f"{each.name!r} (faces of {each.resolution})" for each in self.all)
            raise AvatarError(
                f"the avatar {avatar.name!r} was prepared for the checkpoint {name!r} (faces of {avatar.resolution} "
                f"pixels), and this server speaks with {served}: add it again, or serve {name!r} too (the setting "
                "further_checkpoints)"
            )
        return checkpoint

    def choose(self, video: Path, name: str | None = None) -> Checkpoint:
        """The one that is to draw the person of a video: that of the name, else `for_video`'s.

        Raises UnknownCheckpoint.
        """
        return self.for_video(video) if name is None else self.require(name)

    def require(self, name: str) -> Checkpoint:
        """The one of that name; raises UnknownCheckpoint, which lists those that there are."""
        checkpoint = self.named(name)
        if checkpoint is None:
            raise UnknownCheckpoint(f"no checkpoint {name[:_NAMED_CHARS]!r} is served: {self.names} can be chosen")
        return checkpoint

    def for_video(self, video: Path) -> Checkpoint:
        """The one that knows the person of a video best, by what the checkpoints say of themselves.

        The main one where it is made for the person, or for anybody; else one whose own people the video is one of;
        else the first further one that is for anybody; else the main one.
        """
        if not video.is_file() or self.main.is_made_for(video):  # preparing it says that a file is missing
            return self.main
        for checkpoint in self.all:
            if is_one_of((*checkpoint.made_for, *people(checkpoint).values()), video):
                return checkpoint
        return next((checkpoint for checkpoint in self.all[1:] if not checkpoint.made_for), self.main)


def people(checkpoint: Checkpoint) -> dict[str, Path]:
    """The clips of the people who come with a checkpoint, by name, in alphabetical order."""
    return {path.stem: path for path in sorted((checkpoint.directory / PEOPLE).glob("*.mp4"))}


def is_one_of(clips: Iterable[Path], video: Path) -> bool:
    """Whether the video is one of the clips, byte by byte; a clip that isn't there is none."""
    return any(filecmp.cmp(video, clip, shallow=False) for clip in clips if clip.is_file())


def _starter_beside(main: Checkpoint) -> tuple[Checkpoint, ...]:
    """The starter, where the main checkpoint knows some people only and the starter lies beside it.

    What the main one listens to must be the starter's too: nobody has asked for the starter, so it may not be a reason
    to refuse anything.
    """
    folder = main.directory.parent / STARTER
    if not main.made_for or not (folder / CONFIG_FILE).is_file():
        return ()
    starter = Checkpoint.open(folder)
    fits = starter.whisper == main.whisper and starter.name != main.name
    return (starter,) if fits else ()


def _require_beside(checkpoint: Checkpoint, others: tuple[Checkpoint, ...]) -> None:
    for other in others:
        if checkpoint.name == other.name:
            raise SettingsError(
                f"further_checkpoints: {checkpoint.directory} and {other.directory} are both called "
                f"{checkpoint.name!r}, and avatars are told apart by the name: give one of them another in its "
                f"{CONFIG_FILE}"
            )
    main = others[0]
    if checkpoint.whisper != main.whisper:
        raise SettingsError(
            f"further_checkpoints: {checkpoint.name!r} listens to {checkpoint.whisper['path']} and {main.name!r} to "
            f"{main.whisper['path']}, and all that a server speaks with hear by one Whisper (`whisper` in their "
            f"{CONFIG_FILE}): run a server of its own for {checkpoint.name!r}, with another data_dir"
        )


def _listed(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
