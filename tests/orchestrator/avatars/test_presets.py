"""Avatars without a video of one's own: people whose clips come with a checkpoint."""

from pathlib import Path

import pytest

from latentsync.avatar import AvatarError
from orchestrator.avatars.presets import preset_clip, presets
from orchestrator.checkpoints import ServedCheckpoints
from orchestrator.settings import load_settings
from tests.support.checkpoints import checkpoint_in
from tests.support.command_line import cli
from tests.support.running_server import settings_in


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = settings_in(tmp_path).checkpoint_dir
    (folder / "people").mkdir()
    for name in ("tom.mp4", "mei.mp4", "notes.txt"):
        (folder / "people" / name).write_bytes(b"")
    return folder


def served(main: Path, *further: Path) -> ServedCheckpoints:
    return ServedCheckpoints.open(load_settings(checkpoint_dir=main, further_checkpoints=further))


def test_people_of_a_checkpoint_are_the_clips_in_its_folder(checkpoint: Path) -> None:
    assert list(presets(served(checkpoint))) == ["mei", "tom"]
    assert preset_clip(served(checkpoint), "tom") == checkpoint.resolve() / "people" / "tom.mp4"


def test_people_of_all_served_checkpoints_can_be_chosen(checkpoint: Path, tmp_path: Path) -> None:
    other = checkpoint_in(tmp_path, "other")
    (other / "people").mkdir()
    for name in ("ben", "tom"):
        (other / "people" / f"{name}.mp4").write_bytes(b"")
    assert list(presets(served(checkpoint, other))) == ["ben", "mei", "tom"]
    assert preset_clip(served(checkpoint, other), "ben") == other / "people" / "ben.mp4"
    assert preset_clip(served(other, checkpoint), "tom").parent.parent == other, "the main one's, of two of one name"


def test_who_does_not_come_with_it_is_refused_with_those_who_do(checkpoint: Path) -> None:
    with pytest.raises(AvatarError, match=r"no '\.\./tom' comes with 'tiny': the people are mei, tom"):
        preset_clip(served(checkpoint), "../tom")


def test_a_checkpoint_without_people_names_one_that_has_some(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match=r"no people come with 'tiny' .* checkpoints/starter"):
        preset_clip(served(settings_in(tmp_path).checkpoint_dir), "tom")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--preset", "mei", "--prompt", "smiles"], "--preset needs no picture"),
        (["--name", "mei"], "or --preset with a person who comes with a checkpoint"),
    ],
)
def test_a_person_comes_from_a_preset_or_from_a_picture(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = cli("avatar", "create", *arguments, "--data-dir", str(tmp_path))
    assert result.returncode == 1 and said in result.stderr


def test_presets_are_listed(tmp_path: Path, checkpoint: Path) -> None:
    result = cli("avatar", "create", "--preset", "?", LATENTSYNC_CHECKPOINT_DIR=str(checkpoint))
    assert result.stdout.split() == ["mei", "tom"]


def test_people_of_the_starter_come_with_the_demo(tmp_path: Path) -> None:
    result = cli("avatar", "create", "--preset", "?", LATENTSYNC_DATA_DIR=str(tmp_path))
    assert result.stdout.split()[:2] == ["amir", "ben"]
