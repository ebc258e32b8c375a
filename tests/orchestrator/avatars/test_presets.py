"""Avatars without a video of one's own: people whose clips come with a checkpoint."""

from pathlib import Path

import pytest

from latentsync.avatar import AvatarError
from orchestrator.avatars.presets import preset_clip, presets
from tests.support.command_line import cli
from tests.support.running_server import settings_in


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = settings_in(tmp_path).checkpoint_dir
    (folder / "people").mkdir()
    for name in ("tom.mp4", "mei.mp4", "notes.txt"):
        (folder / "people" / name).write_bytes(b"")
    return folder


def test_people_of_a_checkpoint_are_the_clips_in_its_folder(checkpoint: Path) -> None:
    assert list(presets(checkpoint)) == ["mei", "tom"]
    assert preset_clip(checkpoint, "tom") == checkpoint.resolve() / "people" / "tom.mp4"


def test_who_does_not_come_with_it_is_refused_with_those_who_do(checkpoint: Path) -> None:
    with pytest.raises(AvatarError, match=r"no '\.\./tom': its people are mei, tom"):
        preset_clip(checkpoint, "../tom")


def test_a_checkpoint_without_people_names_one_that_has_some(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match=r"comes without people .* checkpoints/starter"):
        preset_clip(settings_in(tmp_path).checkpoint_dir, "tom")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--preset", "mei", "--prompt", "smiles"], "--preset needs no picture"),
        (["--name", "mei"], "or --preset with a person who comes with the checkpoint"),
    ],
)
def test_a_person_comes_from_a_preset_or_from_a_picture(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = cli("avatar", "create", *arguments, "--data-dir", str(tmp_path))
    assert result.returncode == 1 and said in result.stderr


def test_presets_are_listed(tmp_path: Path, checkpoint: Path) -> None:
    result = cli("avatar", "create", "--preset", "?", LATENTSYNC_CHECKPOINT_DIR=str(checkpoint))
    assert result.stdout.split() == ["mei", "tom"]
