"""Anybody in place of the demo's presenter: drawn by the starter beside it, under a name made of the file's."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentsync.avatar import AvatarError
from orchestrator.checkpoints import ServedCheckpoints
from orchestrator.demo_person import avatar_name_of, with_preset, with_video
from orchestrator.settings import Settings, load_settings
from tests.support.command_line import cli

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("me.mp4", "me"),
        ("My Face (2).MOV", "my-face-2"),
        ("_x_.mp4", "x"),
        ("自拍.mp4", "person"),
        (f"{'long' * 40}.mp4", "long" * 16),
    ],
)
def test_avatar_is_named_after_its_file(file: str, name: str) -> None:
    assert avatar_name_of(Path("/videos") / file) == name


def test_person_of_a_video_is_drawn_by_the_starter(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "me.mp4").write_bytes(b"somebody")
    found, video = with_video(settings, tmp_path / "me.mp4")
    assert (found.avatar, video) == ("me", tmp_path / "me.mp4")
    assert ServedCheckpoints.open(found).for_video(video).name == "starter"
    assert found == settings.model_copy(update={"avatar": "me"}), "models and data are those of the demo"
    named_alike = tmp_path / f"{settings.avatar}.mp4"
    assert with_video(settings, named_alike)[0].avatar == f"{settings.avatar}-video", "the presenter keeps the name"


def test_preset_is_a_clip_of_the_starter(settings: Settings) -> None:
    found, clip = with_preset(settings, "mei")
    assert found.avatar == "mei"
    assert clip == CHECKPOINTS / "starter" / "people" / "mei.mp4"
    assert ServedCheckpoints.open(found).for_video(clip).name == "starter"
    with pytest.raises(AvatarError, match=r"no 'nobody' comes with 'demo' and 'starter': the people are amir, ben"):
        with_preset(settings, "nobody")


def test_a_chosen_checkpoint_without_one_for_anybody_brings_nobody(settings: Settings) -> None:
    alone = settings.model_copy(update={"further_checkpoints": ()})
    with pytest.raises(AvatarError, match="no people come with 'demo'"):
        with_preset(alone, "mei")


def test_demo_shows_one_of_them(tmp_path: Path) -> None:
    for options in (("--preset", "mei", "--both"), ("--preset", "mei", "--video", __file__)):
        answer = cli("demo", *options, LATENTSYNC_DATA_DIR=str(tmp_path))
        assert answer.returncode == 1
        assert "exclude one another" in answer.stderr
    assert cli("demo", "--preset", "?", LATENTSYNC_DATA_DIR=str(tmp_path)).stdout.split()[:2] == ["amir", "ben"]


def test_demo_refuses_what_is_no_video_before_it_prepares_anything(tmp_path: Path) -> None:
    answer = cli("demo", "--video", __file__, LATENTSYNC_DATA_DIR=str(tmp_path))
    assert answer.returncode == 1
    assert "no video that can be read" in answer.stderr
    assert not (tmp_path / "model_repository").exists()
