"""Who fits whom: a checkpoint that was trained for one person, an avatar that was prepared for one checkpoint.

Both are said before minutes of preparing or a speech with a spoiled mouth, not after.
"""

from __future__ import annotations

from pathlib import Path

from latentsync.avatar import AvatarError, PreparedAvatar
from latentsync.checkpoint import Checkpoint


def unfitting(checkpoint_dir: Path, video: Path) -> str | None:
    """A warning that the checkpoint was trained for other people than the video's; None where it fits.

    Raises CheckpointError.
    """
    checkpoint = Checkpoint.open(checkpoint_dir)
    if checkpoint.is_made_for(video):
        return None
    own = " and ".join(str(path.relative_to(checkpoint.directory)) for path in checkpoint.made_for)
    return (
        f"the checkpoint {checkpoint.name!r} was trained for the person of its {own} alone: any other face gets a "
        "blurred mouth. Export the official weights for other people (docs/checkpoints.md), then add the avatar again"
    )


def require_prepared_for(checkpoint_dir: Path, avatar: PreparedAvatar) -> None:
    """Raises AvatarError, naming both, for an avatar that was prepared for another checkpoint; and CheckpointError."""
    prepared_for, checkpoint = avatar.settings.checkpoint, Checkpoint.open(checkpoint_dir)
    if prepared_for not in (None, checkpoint.name):
        raise AvatarError(
            f"the avatar {avatar.name!r} was prepared for the checkpoint {prepared_for!r} (faces of "
            f"{avatar.resolution} pixels), and this server speaks with {checkpoint.name!r} (faces of "
            f"{checkpoint.resolution}): add it again"
        )
