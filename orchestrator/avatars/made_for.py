"""Who fits whom: a checkpoint that was trained for one person, or on other faces than real ones.

It is said before minutes of preparing or a speech with a spoiled mouth, not after.
"""

from __future__ import annotations

from pathlib import Path

from latentsync.checkpoint import CONFIG_FILE, Checkpoint
from orchestrator.checkpoints import STARTER, is_one_of, people


def unfitting(checkpoint: Checkpoint, video: Path) -> str | None:
    """A warning that the checkpoint, chosen for the video, learned from other people alone; None where it fits."""
    if is_one_of(people(checkpoint).values(), video):
        return None
    if not checkpoint.is_made_for(video):
        return _made_for_another(checkpoint)
    if checkpoint.trained_on:
        return (
            f"the checkpoint {checkpoint.name!r} was trained on {checkpoint.trained_on} alone: on any other face the "
            "mouth is softer and moves less surely, so look at a speech of the avatar before you show it to anybody"
        )
    return None


def _made_for_another(checkpoint: Checkpoint) -> str:
    own = " and ".join(str(path.relative_to(checkpoint.directory)) for path in checkpoint.made_for)
    cure = "Export the official weights for other people"
    if (checkpoint.directory.parent / STARTER / CONFIG_FILE).is_file():
        cure += f", or serve {STARTER!r} beside it (further_checkpoints), which needs no download and is softer"
    return (
        f"the checkpoint {checkpoint.name!r} was trained for the person of its {own} alone: any other face gets a "
        f"blurred mouth. {cure} (docs/checkpoints.md), then add the avatar again"
    )
