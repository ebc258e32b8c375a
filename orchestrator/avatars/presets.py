"""People that come with a checkpoint: clips in its folder, of which an avatar is made without a video of one's own."""

from __future__ import annotations

from pathlib import Path

from latentsync.avatar import AvatarError
from latentsync.checkpoint import Checkpoint

FOLDER = "people"


def presets(checkpoint_dir: Path) -> dict[str, Path]:
    """Clips by name, in alphabetical order; raises CheckpointError for a folder that is no checkpoint."""
    folder = Checkpoint.open(checkpoint_dir).directory / FOLDER
    return {path.stem: path for path in sorted(folder.glob("*.mp4"))}


def preset_clip(checkpoint_dir: Path, name: str) -> Path:
    """The clip of that person; raises AvatarError, which names those that there are, and CheckpointError."""
    people = presets(checkpoint_dir)
    if name in people:
        return people[name]
    if not people:
        raise AvatarError(
            f"the checkpoint {checkpoint_dir.name!r} comes without people (no {FOLDER}/*.mp4 in its folder): set "
            "checkpoint_dir to one that has some, as checkpoints/starter, or add a video with `avatar add`"
        )
    raise AvatarError(f"the checkpoint comes with no {name!r}: its people are {', '.join(people)}")
