"""A backup of a running server, restored into an empty folder: what waited is said there."""

import asyncio
import stat
from pathlib import Path

import pytest

from orchestrator.access.keys import KeyFile, Scope
from orchestrator.backup import BackupError, back_up, restore
from orchestrator.exclusive import LockRefused, serving
from tests.support.command_line import cli
from tests.support.running_server import running, settings_in
from tests.support.speech_samples import wav
from tests.support.synthetic_avatar import write_avatar

pytestmark = pytest.mark.timeout(90)

NEWS = {"channel": "news", "avatar": "other", "targets": ["rtmp://127.0.0.1:9/live/s3cr3t-k3y"], "fade_frames": 9}


@pytest.mark.parametrize("name", ["copy", "copy.tar"])
async def test_backup_of_a_running_server_is_restored_and_what_waited_is_said(tmp_path: Path, name: str) -> None:
    settings, target = settings_in(tmp_path / "old"), tmp_path / name
    write_avatar(settings.avatars_dir, "other")
    secret = KeyFile(settings.keys_path).add("ops", Scope.ADMINISTER)
    files = {"audio_file": ("speech.wav", wav(0.5))}
    async with running(settings) as server:
        await server.ready()
        assert (await server.http.post("/v1/channels", json=NEWS)).status_code == 201
        done = (await server.http.post("/v1/tasks", files=files)).json()["task_id"]
        await server.task(done, "done")
        server.models.gate.clear()
        begun = (await server.http.post("/v1/tasks", files=files)).json()["task_id"]
        await server.task(begun, "inferring")
        waiting = (await server.http.post("/v1/tasks", files=files, data={"channel": "news"})).json()["task_id"]
        if name.endswith(".tar"):
            said = await asyncio.to_thread(
                cli,
                "backup",
                str(target),
                LATENTSYNC_DATA_DIR=str(settings.data_dir),
                LATENTSYNC_CHECKPOINT_DIR=str(settings.checkpoint_dir),
            )
            assert said.returncode == 0, said.stderr
        else:
            await asyncio.to_thread(back_up, settings, target)
        server.models.gate.set()
        await server.task(begun, "done")
    assert stat.S_IMODE(target.stat().st_mode) & 0o077 == 0

    restored = settings_in(tmp_path / "new", data_dir=tmp_path / "new" / "var")
    restore(restored, target)
    async with running(restored) as server:
        await server.ready()
        for task_id in (begun, waiting):
            assert (await server.task(task_id, "done"))["frames"]["played"] > 0
        assert (await server.http.get(f"/v1/tasks/{done}")).json()["state"] == "done"
        news = (await server.http.get("/v1/channels/news")).json()
        assert (news["avatar"], news["fade_frames"]) == ("other", 9)
    key = KeyFile(restored.keys_path).find(secret)
    assert key is not None and key.name == "ops"
    assert not [path for path in restored.data_dir.iterdir() if path.name.startswith(".restore")]


def test_restore_leaves_a_folder_alone_that_holds_something_or_is_in_use(tmp_path: Path) -> None:
    settings, target = settings_in(tmp_path / "old"), tmp_path / "copy"
    write_avatar(settings.avatars_dir)
    back_up(settings, target)
    with pytest.raises(BackupError, match=r"not empty \(it has avatars\)"):
        restore(settings, target)
    empty = settings_in(tmp_path / "new")
    with serving(empty, "serve"), pytest.raises(LockRefused, match=r"\(serve\)"):
        restore(empty, target)
    with pytest.raises(BackupError, match="exists already"):
        back_up(settings, target)


@pytest.mark.parametrize(
    ("damaged", "says"),
    [("backup.json", "no backup"), ("tasks/tasks.sqlite3", "can't be used"), ("", "no tar archive, or a cut one$")],
)
def test_damaged_backup_is_refused_and_leaves_nothing(tmp_path: Path, damaged: str, says: str) -> None:
    settings, target = settings_in(tmp_path / "old"), tmp_path / "copy"
    (settings.data_dir / "tasks").mkdir(parents=True)
    back_up(settings, target)
    if damaged == "backup.json":
        (target / damaged).unlink()
    elif damaged:
        (target / damaged).write_bytes(b"garbage" * 1000)
    else:
        target = tmp_path / "no.tar"
        target.write_bytes(b"garbage")
    empty = settings_in(tmp_path / "new")
    with pytest.raises(BackupError, match=says):
        restore(empty, target)
    assert [path.name for path in empty.data_dir.iterdir()] == [".serve.lock"]
