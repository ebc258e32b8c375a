"""An avatar and its motions are prepared by one checkpoint of those that are served, over HTTP and by the commands."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latentsync.avatar import AvatarError, PreparedAvatar
from orchestrator import orchestrator as server
from orchestrator.avatars import adding
from orchestrator.avatars.motions import MotionOptions
from orchestrator.avatars.prepare import PrepareOptions
from orchestrator.settings import Settings
from tests.support.checkpoints import checkpoint_in
from tests.support.controlled_models import ControlledModels
from tests.support.running_server import settings_in
from tests.support.synthetic_avatar import write_avatar_of

Prepare = Callable[[Path, str, PrepareOptions | MotionOptions], Awaitable[object]]


class Networks(ControlledModels):
    """Those of one checkpoint, of which the name is known."""

    def __init__(self, checkpoint: str | None = None) -> None:
        super().__init__()
        self.checkpoint = checkpoint

    def drawing_with(self, checkpoint: str | None) -> "Networks":
        return Networks(checkpoint)


class Noted:
    """In place of the preparation: notes for which checkpoint, and with whose networks, it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str | None]] = []

    async def avatar(
        self, video: Path, name: str, directory: Path, checkpoint: Any, coder: Networks, *rest: Any, **options: Any
    ) -> PreparedAvatar:
        self.calls.append((name, checkpoint.name, coder.checkpoint))
        return write_avatar_of(checkpoint.name, directory, name)

    async def motion(
        self, video: Path, name: str, avatar: PreparedAvatar, options: Any, checkpoint: Any, coder: Networks, *rest: Any
    ) -> object:
        self.calls.append((name, checkpoint.name, coder.checkpoint))
        return SimpleNamespace(clip=avatar)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """One checkpoint for its own people, and the starter beside it."""
    settings = settings_in(tmp_path)
    checkpoint_in(settings.checkpoint_dir.parent, "tiny", made_for=["own.mp4"])
    (settings.checkpoint_dir / "own.mp4").write_text("own")
    checkpoint_in(settings.checkpoint_dir.parent, "starter")
    write_avatar_of("starter", settings.avatars_dir, settings.avatar)
    return settings


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Noted:
    noted = Noted()
    for module in (adding, server):
        monkeypatch.setattr(module, "prepare_avatar", noted.avatar)
        monkeypatch.setattr(module, "add_motion", noted.motion)
        monkeypatch.setattr(module, "FaceLandmarker", lambda folder: None)
    monkeypatch.setattr(adding, "TritonClient", lambda settings: Networks())
    return noted


@pytest.fixture(params=["by the command", "over HTTP"])
def prepare(request: pytest.FixtureRequest, settings: Settings, noted: Noted) -> Prepare:
    async def by_the_command(video: Path, name: str, options: PrepareOptions | MotionOptions) -> object:
        if isinstance(options, MotionOptions):
            return await adding.add_motion_of(settings, video, name, options)
        return await adding.add_avatar(settings, video, name, options)

    async def over_http(video: Path, name: str, options: PrepareOptions | MotionOptions) -> object:
        orchestrator = server.Orchestrator(settings, client=Networks())  # type: ignore[arg-type]
        return await orchestrator._prepare_avatar(video, name, options, lambda step, done, total: None)

    return by_the_command if request.param == "by the command" else over_http


async def test_the_video_chooses_unless_a_checkpoint_is_named(
    settings: Settings, noted: Noted, prepare: Prepare, tmp_path: Path
) -> None:
    (video := tmp_path / "video.mp4").write_text("somebody")
    await prepare(video, "somebody", PrepareOptions())
    await prepare(settings.checkpoint_dir / "own.mp4", "own", PrepareOptions())
    await prepare(video, "named", PrepareOptions(checkpoint="tiny"))
    assert noted.calls == [("somebody", "starter", "starter"), ("own", "tiny", "tiny"), ("named", "tiny", "tiny")]
    with pytest.raises(AvatarError, match="'tiny' and 'starter' can be chosen"):
        await prepare(video, "other", PrepareOptions(checkpoint="latentsync-1.6"))


async def test_a_motion_is_prepared_for_the_checkpoint_of_its_avatar(
    settings: Settings, noted: Noted, prepare: Prepare, tmp_path: Path
) -> None:
    for name, checkpoint in (("ann", "starter"), ("bob", "tiny"), ("cat", "latentsync-1.6")):
        write_avatar_of(checkpoint, settings.avatars_dir, name)
    (video := tmp_path / "nod.mp4").write_text("nod")
    for avatar in ("ann", "bob"):
        await prepare(video, f"nod-of-{avatar}", MotionOptions(avatar))
    assert noted.calls == [("nod-of-ann", "starter", "starter"), ("nod-of-bob", "tiny", "tiny")]
    with pytest.raises(AvatarError, match=r"'cat' was prepared for the checkpoint 'latentsync-1\.6'"):
        await prepare(video, "nod", MotionOptions("cat"))
