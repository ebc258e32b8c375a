"""`demo --video` and `demo --preset`: somebody else than the demo's own presenter on its channel."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.avatars.presets import preset_clip
from orchestrator.checkpoints import ServedCheckpoints
from orchestrator.settings import Settings

_LONGEST_NAME = 64
_OF_OTHER_LETTERS = "person"


def with_preset(settings: Settings, name: str) -> tuple[Settings, Path]:
    """The settings for one of the people who come with the served checkpoints, and the person's video.

    Raises SettingsError, CheckpointError, and AvatarError, which names those that there are.
    """
    clip = preset_clip(ServedCheckpoints.open(settings), name)
    return settings.model_copy(update={"avatar": name}), clip


def with_video(settings: Settings, video: Path) -> tuple[Settings, Path]:
    """The settings for the person of a video, whose avatar is named after the file.

    The name of the demo's own presenter stays with the presenter.
    """
    name = avatar_name_of(video)
    return settings.model_copy(update={"avatar": f"{name}-video" if name == settings.avatar else name}), video


def avatar_name_of(video: Path) -> str:
    """An avatar's name made of a file's: a-z, 0-9, - and _."""
    kept = re.sub(r"[^a-z0-9_-]+", "-", video.stem.lower()).lstrip("-_")[:_LONGEST_NAME].rstrip("-_")
    return kept or _OF_OTHER_LETTERS
