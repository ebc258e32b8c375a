"""A checkpoint that was trained for one person can't speak as another: said before minutes of preparing, not after."""

from __future__ import annotations

from pathlib import Path

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
