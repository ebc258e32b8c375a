"""The folder of avatars: what is left in it by processes that were killed."""

from pathlib import Path

from latentsync.avatar_writer import AvatarWriter
from orchestrator.avatars.store import remove_leftovers
from tests.support.running_server import running, settings_in


def abandon(folder: Path) -> Path:
    """What a killed writer leaves: the file that it had locked tells that it is gone."""
    (folder / "frames").mkdir(parents=True)
    (folder / "alive").touch()
    return folder


async def test_a_start_removes_half_an_avatar_and_half_a_motion(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    avatars = settings.avatars_dir
    left = [abandon(avatars / ".news-x1"), abandon(avatars / "demo2" / "motions" / ".wave-x2")]
    for doomed in (avatars / ".old.removed", avatars / "demo2" / "motions" / ".nod.removed"):
        (doomed / "frames").mkdir(parents=True)
        left.append(doomed)
    kept = avatars / "demo2" / "motions" / "bow"
    kept.mkdir()
    async with running(settings):
        assert not any(folder.exists() for folder in left) and kept.exists()


def test_what_another_process_writes_now_stays(tmp_path: Path) -> None:
    with AvatarWriter(tmp_path / "demo" / "motions" / "wave") as writer:
        remove_leftovers(tmp_path)
        assert writer.folder.exists()
    remove_leftovers(tmp_path / "nowhere")
