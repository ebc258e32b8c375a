"""Which checkpoints one server speaks with, and which of them draws whom."""

from pathlib import Path

import pytest

import export.repository
from latentsync.avatar import AvatarError
from latentsync.checkpoint import CheckpointError
from orchestrator import demo
from orchestrator.checkpoints import ServedCheckpoints, UnknownCheckpoint
from orchestrator.commands.export import export as export_command
from orchestrator.settings import Settings, SettingsError, load_settings
from tests.support.checkpoints import checkpoint_in
from tests.support.running_server import settings_in
from tests.support.synthetic_avatar import write_avatar_of


def served(main: Path, *further: Path) -> ServedCheckpoints:
    return ServedCheckpoints.open(load_settings(checkpoint_dir=main, further_checkpoints=further))


def names(settings: Settings) -> list[str]:
    return [checkpoint.name for checkpoint in ServedCheckpoints.open(settings).all]


def test_the_demo_is_served_with_the_starter_and_the_official_ones_alone(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    assert names(settings) == ["demo", "starter"]
    checkpoints = settings.checkpoint_dir.parent
    assert names(load_settings(data_dir=tmp_path, checkpoint_dir=checkpoints / "starter")) == ["starter"]
    assert names(load_settings(data_dir=tmp_path, checkpoint_dir=checkpoints / "latentsync-1.6")) == ["latentsync-1.6"]


def test_a_checkpoint_for_some_people_brings_the_starter_that_lies_beside_it(tmp_path: Path) -> None:
    presenters = checkpoint_in(tmp_path, "presenters", made_for=["avatar/idle.mp4"])
    anybody = checkpoint_in(tmp_path, "anybody")
    assert names(load_settings(checkpoint_dir=presenters)) == ["presenters"]
    starter = checkpoint_in(tmp_path, "starter")
    assert ServedCheckpoints.open(load_settings(checkpoint_dir=presenters)).directories == (presenters, starter)
    assert names(load_settings(checkpoint_dir=anybody)) == ["anybody"]
    assert names(load_settings(checkpoint_dir=presenters, further_checkpoints=())) == ["presenters"]


def test_a_starter_that_hears_by_another_whisper_is_no_reason_to_refuse_what_was_asked_for(tmp_path: Path) -> None:
    presenters = checkpoint_in(tmp_path, "presenters", made_for=["avatar/idle.mp4"])
    checkpoint_in(tmp_path, "starter", whisper={"path": "whisper-large"})
    assert names(load_settings(checkpoint_dir=presenters)) == ["presenters"]


def test_those_that_are_named_are_served_in_their_order(tmp_path: Path) -> None:
    first, second, third = (checkpoint_in(tmp_path, name) for name in ("first", "second", "third"))
    found = served(second, third, first)
    assert found.directories == (second, third, first)
    assert found.main.name == "second" and found.named(None) is found.main
    assert found.names == "'second', 'third' and 'first'"
    assert found.named("fourth") is None and found.named("first") is found.all[2]


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = checkpoint_in(tmp_path / "a", "anna"), checkpoint_in(tmp_path / "b", "anna")
    with pytest.raises(SettingsError, match=f"further_checkpoints: {other} and {one} are both called 'anna'.*give"):
        served(one, other)


def test_another_whisper_is_refused_with_what_to_do(tmp_path: Path) -> None:
    one, other = checkpoint_in(tmp_path, "one"), checkpoint_in(tmp_path, "other", whisper={"path": "whisper-base"})
    expected = r"'other' listens to whisper-base and 'one' to whisper-tiny.*run a server of its own"
    with pytest.raises(SettingsError, match=expected):
        served(one, other)


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{tmp_path}/none/config.json can't be read"):
        served(checkpoint_in(tmp_path, "one"), tmp_path / "none")


def test_it_is_a_list_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value, expected in (
        ('["a", "/b"]', (tmp_path / "a", Path("/b"))),
        ("[]", ()),
        ("", None),
    ):
        monkeypatch.setenv("LATENTSYNC_FURTHER_CHECKPOINTS", value)
        assert load_settings(data_dir=tmp_path).further_checkpoints == expected


def test_a_folder_in_place_of_a_list_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSYNC_FURTHER_CHECKPOINTS", "checkpoints/starter")
    with pytest.raises(SettingsError, match=r"further_checkpoints: .*must be a list of folders"):
        load_settings(data_dir=tmp_path)


@pytest.fixture
def several(tmp_path: Path) -> ServedCheckpoints:
    """A presenter's, one for Anna, two for anybody: of these the second has a person of its own."""
    presenters = checkpoint_in(tmp_path, "presenters", made_for=["idle.mp4"])
    anna = checkpoint_in(tmp_path, "anna", made_for=["anna.mp4"])
    starter, other = checkpoint_in(tmp_path, "starter"), checkpoint_in(tmp_path, "other")
    for folder, name in ((presenters, "idle"), (anna, "anna"), (presenters / "people", "pia")):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.mp4").write_text(name)
    (other / "people").mkdir()
    (other / "people" / "otto.mp4").write_text("otto")
    return served(presenters, anna, starter, other)


@pytest.mark.parametrize(
    ("person", "checkpoint"),
    [("idle", "presenters"), ("pia", "presenters"), ("anna", "anna"), ("otto", "other"), ("somebody", "starter")],
)
def test_a_video_is_drawn_by_who_knows_its_person_else_by_the_first_for_anybody(
    several: ServedCheckpoints, tmp_path: Path, person: str, checkpoint: str
) -> None:
    video = tmp_path / "renamed.mp4"
    video.write_text(person)
    assert several.for_video(video).name == several.choose(video).name == checkpoint
    assert several.choose(video, "anna").name == "anna", "a name decides, whoever it is"


def test_a_main_checkpoint_for_anybody_draws_everybody(several: ServedCheckpoints, tmp_path: Path) -> None:
    presenters, _, starter, other = several.directories
    for person in ("idle", "otto", "somebody"):
        (tmp_path / "video.mp4").write_text(person)
        assert served(starter, presenters, other).for_video(tmp_path / "video.mp4").name == "starter"


def test_the_main_one_draws_whom_nobody_knows(several: ServedCheckpoints, tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_text("somebody")
    presenters, anna, *_ = several.directories
    assert served(presenters, anna).for_video(tmp_path / "video.mp4").name == "presenters"


def test_a_video_that_is_missing_is_left_to_who_reads_it(several: ServedCheckpoints, tmp_path: Path) -> None:
    assert several.for_video(tmp_path / "none.mp4") is several.main


def test_a_name_that_is_not_served_is_refused_with_those_that_are(several: ServedCheckpoints) -> None:
    expected = "no checkpoint 'latentsync-1.6' is served: 'presenters', 'anna', 'starter' and 'other' can be chosen"
    with pytest.raises(UnknownCheckpoint, match=expected):
        several.require("latentsync-1.6")


def test_an_avatar_is_drawn_by_the_checkpoint_that_it_was_prepared_for(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, further_checkpoints=(checkpoint_in(tmp_path / "checkpoints", "second"),))
    found = ServedCheckpoints.open(settings)

    def drawn_by(checkpoint: str | None) -> str:
        return found.of(write_avatar_of(checkpoint, settings.avatars_dir, "anna")).name

    assert (drawn_by("tiny"), drawn_by("second"), drawn_by(None)) == ("tiny", "second", "tiny")
    expected = (
        r"'anna' was prepared for the checkpoint 'third' \(faces of 128 pixels\), and this server speaks with "
        r"'tiny' \(faces of 64\) and 'second' \(faces of 64\): add it again, or serve 'third' too"
    )
    with pytest.raises(AvatarError, match=expected):
        drawn_by("third")


def exported(monkeypatch: pytest.MonkeyPatch, module: object) -> list[tuple[Path, tuple[Path, ...]]]:
    """What is exported from now on in place of a repository: the main checkpoint, and those beside it."""
    calls: list[tuple[Path, tuple[Path, ...]]] = []

    def note(main: Path, target: Path, *, further: tuple[Path, ...], **options: object) -> bool:
        calls.append((main, further))
        return True

    monkeypatch.setattr(module, "export_repository", note)
    return calls


def test_export_takes_those_that_it_is_told_else_those_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = (checkpoint_in(tmp_path, name) for name in ("one", "two", "three"))
    monkeypatch.setenv("LATENTSYNC_FURTHER_CHECKPOINTS", f'["{two}"]')
    calls = exported(monkeypatch, export.repository)
    export_command(checkpoint=one, data_dir=tmp_path)
    export_command(checkpoint=one, also=[three, two], data_dir=tmp_path)
    assert calls == [(one, (two,)), (one, (three, two))]


async def test_the_demo_exports_all_that_it_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(data_dir=tmp_path)
    calls = exported(monkeypatch, demo)
    monkeypatch.setattr(demo, "ensure_demo_files", lambda folder: None)
    said: list[str] = []
    await demo._prepare_files(settings, ServedCheckpoints.open(settings), said.append)
    assert calls == [(settings.checkpoint_dir, (settings.checkpoint_dir.parent / "starter",))]
    assert "'demo' and 'starter'" in said[-1]
