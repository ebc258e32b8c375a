"""Who fits whom: a checkpoint that was trained for one person, an avatar that was prepared for one checkpoint.

Both are said before minutes of preparing or a speech with a spoiled mouth, not after.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterable
from pathlib import Path

from latentsync.avatar import AvatarError, PreparedAvatar
from latentsync.checkpoint import CONFIG_FILE, Checkpoint
from orchestrator.avatars.presets import presets

STARTER = "starter"
"""Name of the checkpoint for anybody that comes with the checkout."""


def unfitting(checkpoint_dir: Path, video: Path) -> str | None:
    """A warning that the checkpoint was trained for, or on, other people than the video's; None where it fits.

    Raises CheckpointError.
    """
    checkpoint = Checkpoint.open(checkpoint_dir)
    if not checkpoint.is_made_for(video):
        return _made_for_another(checkpoint)
    if checkpoint.trained_on and not _is_one_of(presets(checkpoint_dir).values(), video):
        return (
            f"the checkpoint {checkpoint.name!r} was trained on {checkpoint.trained_on} alone: on any other face the "
            "mouth is softer and moves less surely, so look at a speech of the avatar before you show it to anybody"
        )
    return None


def _made_for_another(checkpoint: Checkpoint) -> str:
    own = " and ".join(str(path.relative_to(checkpoint.directory)) for path in checkpoint.made_for)
    cure = "Export the official weights for other people"
    if (checkpoint.directory.parent / STARTER / CONFIG_FILE).is_file():
        cure += f", or the checkpoint {STARTER!r}, which needs no download and is softer (`demo --video` shows it)"
    return (
        f"the checkpoint {checkpoint.name!r} was trained for the person of its {own} alone: any other face gets a "
        f"blurred mouth. {cure} (docs/checkpoints.md), then add the avatar again"
    )


def _is_one_of(clips: Iterable[Path], video: Path) -> bool:
    return any(filecmp.cmp(video, clip, shallow=False) for clip in clips)


def require_prepared_for(checkpoint_dir: Path, avatar: PreparedAvatar) -> None:
    """Raises AvatarError, naming both, for an avatar that was prepared for another checkpoint; and CheckpointError."""
    prepared_for, checkpoint = avatar.settings.checkpoint, Checkpoint.open(checkpoint_dir)
    if prepared_for not in (None, checkpoint.name):
        raise AvatarError(
            f"the avatar {avatar.name!r} was prepared for the checkpoint {prepared_for!r} (faces of "
            f"{avatar.resolution} pixels), and this server speaks with {checkpoint.name!r} (faces of "
            f"{checkpoint.resolution}): add it again"
        )
