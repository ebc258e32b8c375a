"""Who adds a video of a person that the checkpoint can't speak as is told so before it is prepared."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from latentsync.avatar import AvatarError
from latentsync.checkpoint import Checkpoint
from orchestrator.avatars.made_for import unfitting
from orchestrator.channels.setup import open_avatar
from orchestrator.settings import Settings
from speech.audio.decoder import ffmpeg_binary
from tests.support.checkout import ROOT
from tests.support.checkpoints import checkpoint_in
from tests.support.command_line import cli
from tests.support.running_server import free_port, running, settings_in
from tests.support.synthetic_avatar import write_avatar_of
from tests.support.tiny_checkpoint import CONFIG

DEMO = ROOT / "checkpoints" / "demo"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two seconds of somebody at 320×240."""
    path = tmp_path / "person.mp4"
    pattern = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=2", str(path)]
    subprocess.run([ffmpeg_binary(), "-v", "error", *pattern], check=True)
    return path


def settings_for_one_person(folder: Path) -> Settings:
    """Settings with a checkpoint that was made for a presenter whose video is not the test's."""
    settings = settings_in(folder, triton_grpc_port=free_port())
    (settings.checkpoint_dir / "config.json").write_text(json.dumps({**CONFIG, "made_for": ["avatar/idle.mp4"]}))
    return settings


def warned(folder: Path, video: Path) -> str | None:
    return unfitting(Checkpoint.open(folder), video)


def test_the_demo_speaks_as_its_own_presenter_only(video: Path) -> None:
    assert warned(DEMO, DEMO / "avatar" / "idle.mp4") is None
    warning = warned(DEMO, video)
    assert warning is not None and "'demo'" in warning and "docs/checkpoints.md" in warning


def test_the_official_checkpoint_is_for_everybody(video: Path) -> None:
    assert warned(ROOT / "checkpoints" / "latentsync-1.0", video) is None


def test_a_checkpoint_that_learned_from_rendered_people_says_so_of_all_but_its_own(tmp_path: Path, video: Path) -> None:
    folder = settings_in(tmp_path).checkpoint_dir
    (folder / "config.json").write_text(json.dumps({**CONFIG, "trained_on": "rendered people"}))
    warning = warned(folder, video)
    assert warning is not None and "'tiny' was trained on rendered people alone" in warning
    (folder / "people").mkdir()
    shutil.copy(video, folder / "people" / "mei.mp4")
    assert warned(folder, video) is None


def test_a_checkpoint_for_one_person_names_the_one_for_anybody_where_there_is_one(tmp_path: Path, video: Path) -> None:
    folder = settings_for_one_person(tmp_path).checkpoint_dir
    assert "'starter'" not in str(warned(folder, video))
    (folder.parent / "starter").mkdir()
    (folder.parent / "starter" / "config.json").write_text("{}")
    assert "or serve 'starter' beside it (further_checkpoints), which needs no download" in str(warned(folder, video))


def test_an_avatar_of_another_checkpoint_is_refused_by_both_names(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    for name, checkpoint in (("older", None), ("own", "tiny"), ("other", "latentsync-1.6")):
        write_avatar_of(checkpoint, settings.avatars_dir, name)
    assert open_avatar(settings, "older").settings.checkpoint is None
    assert open_avatar(settings, "own").settings.checkpoint == "tiny"
    expected = (
        r"'other' was prepared for the checkpoint 'latentsync-1\.6' .* this server speaks with 'tiny' .*add it again"
    )
    with pytest.raises(AvatarError, match=expected):
        open_avatar(settings, "other")


async def test_a_channel_is_not_made_of_an_avatar_of_another_checkpoint(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with running(settings) as server:
        await server.ready()
        write_avatar_of("latentsync-1.6", settings.avatars_dir, "other")
        answer = await server.http.post("/v1/channels", json={"channel": "second", "avatar": "other"})
        assert answer.status_code == 422
        assert "was prepared for the checkpoint 'latentsync-1.6'" in answer.json()["error"]["message"]


async def test_the_answer_and_the_task_carry_the_warning(tmp_path: Path, video: Path) -> None:
    files = {"video": ("person.mp4", video.read_bytes())}
    async with running(settings_for_one_person(tmp_path)) as server:
        await server.ready()
        answer = (await server.http.post("/v1/avatars", data={"name": "person"}, files=files)).json()
        assert "blurred mouth" in answer["warning"]
        task = (await server.http.get(f"/v1/avatar-tasks/{answer['task_id']}")).json()
        assert task["warning"] == answer["warning"]


async def test_a_checkpoint_for_everybody_warns_of_nothing(tmp_path: Path, video: Path) -> None:
    files = {"video": ("person.mp4", video.read_bytes())}
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        answer = (await server.http.post("/v1/avatars", data={"name": "person"}, files=files)).json()
        assert answer["warning"] is None


async def test_the_starter_beside_a_checkpoint_for_one_person_takes_all_others(tmp_path: Path, video: Path) -> None:
    settings = settings_for_one_person(tmp_path)
    checkpoint_in(settings.checkpoint_dir.parent, "starter")
    files = {"video": ("person.mp4", video.read_bytes())}
    async with running(settings) as server:
        await server.ready()
        for name, fields, warned_of in (("x", {}, None), ("y", {"checkpoint": "tiny"}, "blurred mouth")):
            answer = (await server.http.post("/v1/avatars", data={"name": name, **fields}, files=files)).json()
            assert answer["warning"] is None if warned_of is None else warned_of in answer["warning"]
        data = {"name": "z", "checkpoint": "latentsync-1.6"}
        refused = await server.http.post("/v1/avatars", data=data, files=files)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_checkpoint")
        assert "'tiny' and 'starter' can be chosen" in refused.json()["error"]["message"]


def test_the_command_names_the_checkpoint_that_will_draw_the_face(tmp_path: Path, video: Path) -> None:
    settings = settings_for_one_person(tmp_path)
    checkpoint_in(settings.checkpoint_dir.parent, "starter", trained_on="rendered people")
    values = {"DATA_DIR": settings.data_dir, "CHECKPOINT_DIR": settings.checkpoint_dir}
    values["TRITON_URL"] = f"127.0.0.1:{settings.triton_grpc_port}"  # type: ignore[assignment]
    environment = {f"LATENTSYNC_{name}": str(value) for name, value in values.items()}
    command = ("avatar", "add", str(video), "--name", "x")
    said = cli(*command, **environment)  # no Triton runs
    assert "of 'tiny' and 'starter', the checkpoint 'starter' will draw it" in said.stderr
    assert "WARNING: the checkpoint 'starter' was trained on rendered people alone" in said.stderr
    said = cli(*command, "--checkpoint", "tiny", **environment)
    assert "the checkpoint 'tiny' will draw it" in said.stderr and "blurred mouth" in said.stderr
    said = cli(*command, "--checkpoint", "demo", **environment)
    assert said.returncode == 1
    assert "no checkpoint 'demo' is served: 'tiny' and 'starter' can be chosen" in said.stderr


def test_the_command_says_first_what_it_takes_and_that_the_face_will_be_bad(tmp_path: Path, video: Path) -> None:
    settings = settings_for_one_person(tmp_path)
    values = {"DATA_DIR": settings.data_dir, "CHECKPOINT_DIR": settings.checkpoint_dir}
    values["TRITON_URL"] = f"127.0.0.1:{settings.triton_grpc_port}"  # type: ignore[assignment]
    said = cli("avatar", "add", str(video), "--name", "x", **{f"LATENTSYNC_{k}": str(v) for k, v in values.items()})
    assert said.returncode == 1  # no Triton runs
    assert "its frames will take about 0.012 GB of the disk, which has" in said.stderr
    assert "WARNING: the checkpoint 'tiny' was trained for the person of its avatar/idle.mp4 alone" in said.stderr
