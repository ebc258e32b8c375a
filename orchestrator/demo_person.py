"""`demo --video` and `demo --preset`: somebody else than the demo's own presenter, without a download."""

from __future__ import annotations

import re
from pathlib import Path

from latentsync.checkpoint import CONFIG_FILE
from orchestrator.avatars.made_for import STARTER
from orchestrator.avatars.presets import preset_clip
from orchestrator.settings import Settings, SettingsError

_LONGEST_NAME = 64
_OF_OTHER_LETTERS = "person"


def with_preset(settings: Settings, name: str) -> tuple[Settings, Path]:
    """The settings for one of the people who come with the starter, and the person's video.

    Raises SettingsError, CheckpointError, and AvatarError, which names those that there are.
    """
    settings = for_anybody(settings)
    clip = preset_clip(settings.checkpoint_dir, name)
    return settings.model_copy(update={"avatar": name}), clip


def with_video(settings: Settings, video: Path) -> tuple[Settings, Path]:
    """The settings for the person of a video, whose avatar is named after the file; raises SettingsError."""
    return for_anybody(settings).model_copy(update={"avatar": avatar_name_of(video)}), video


def avatar_name_of(video: Path) -> str:
    """An avatar's name made of a file's: a-z, 0-9, - and _."""
    kept = re.sub(r"[^a-z0-9_-]+", "-", video.stem.lower()).lstrip("-_")[:_LONGEST_NAME].rstrip("-_")
    return kept or _OF_OTHER_LETTERS


def for_anybody(settings: Settings) -> Settings:
    """The starter's settings, unless a checkpoint was chosen; its models and avatars lie in a folder of their own.

    The demo's own are made for other models, and in one folder each change of the person would export them anew.
    """
    if "checkpoint_dir" in settings.model_fields_set:
        return settings
    starter = settings.checkpoint_dir.parent / STARTER
    if not (starter / CONFIG_FILE).is_file():
        raise SettingsError(f"{starter} is missing, the checkpoint for anybody: get it from the repository")
    return settings.model_copy(update={"checkpoint_dir": starter, "data_dir": settings.data_dir / STARTER})
