"""People that come with the served checkpoints: clips in their folders, of which avatars are made without a video."""

from __future__ import annotations

from pathlib import Path

from latentsync.avatar import AvatarError
from orchestrator.checkpoints import PEOPLE, ServedCheckpoints, people


def presets(served: ServedCheckpoints) -> dict[str, Path]:
    """Clips by name, in alphabetical order; of two people of one name the one whose checkpoint comes first."""
    found: dict[str, Path] = {}
    for checkpoint in reversed(served.all):
        found |= people(checkpoint)
    return dict(sorted(found.items()))


def preset_clip(served: ServedCheckpoints, name: str) -> Path:
    """The clip of that person; raises AvatarError, which names those that there are."""
    known = presets(served)
    if name in known:
        return known[name]
    if not known:
        raise AvatarError(
            f"no people come with {served.names} (no {PEOPLE}/*.mp4 in the checkpoint's folder): serve one that has "
            "some, as checkpoints/starter (checkpoint_dir or further_checkpoints), or add a video with `avatar add`"
        )
    raise AvatarError(f"no {name!r} comes with {served.names}: the people are {', '.join(known)}")
