"""Avatars over HTTP: a video becomes one as a task with progress, and what is refused."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inference.launcher import TritonServer
from latentsync.avatar import PreparedAvatar
from orchestrator.avatars.fit import LEAST_FIT_DB
from speech.audio.decoder import ffmpeg_binary
from tests.support.checkout import ROOT
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.tiny_checkpoint import RESOLUTION

pytestmark = pytest.mark.asyncio(loop_scope="session")

FRAMES = 30


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bit more than a second of the demo's person."""
    path = tmp_path_factory.mktemp("clip") / "person.mp4"
    source = ROOT / "checkpoints" / "demo" / "avatar" / "idle.mp4"
    cut = ["-i", str(source), "-frames:v", str(FRAMES), "-an", str(path)]
    subprocess.run([ffmpeg_binary(), "-v", "error", *cut], check=True)
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory, triton_server: TritonServer) -> AsyncIterator[RunningServer]:
    if not (ROOT / "checkpoints" / "face").is_dir():
        pytest.skip("the face models are not fetched: run `latentsync-realtime fetch`")
    folder = tmp_path_factory.mktemp("server")
    settings = settings_in(
        folder,
        triton_url=f"127.0.0.1:{triton_server.options.grpc_port}",
        avatar_upload_limit_bytes=5_000_000,
    )
    (folder / "checkpoints" / "face").symlink_to(ROOT / "checkpoints" / "face")
    async with running(settings, real_client=True, resolution=RESOLUTION) as started:
        await started.ready()
        yield started


async def finished(server: RunningServer, task_id: str) -> dict[str, Any]:
    while True:
        task: dict[str, Any] = (await server.http.get(f"/v1/avatar-tasks/{task_id}")).json()
        if task["state"] in ("done", "failed", "cancelled"):
            assert list(server.orchestrator.uploads_dir.iterdir()) == []
            return task
        await asyncio.sleep(0.05)


def names(server: RunningServer) -> list[str]:
    return sorted(path.name for path in server.orchestrator.settings.avatars_dir.iterdir())


async def add(server: RunningServer, clip: Path, name: str, **fields: str) -> str:
    files = {"video": ("person.mp4", clip.read_bytes())}
    answer = await server.http.post("/v1/avatars", data={"name": name, **fields}, files=files)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/avatar-tasks/{answer.json()['task_id']}"
    return str(answer.json()["task_id"])


async def test_video_becomes_an_avatar_with_progress(server: RunningServer, clip: Path) -> None:
    with server.orchestrator.notices.subscribe() as subscription:
        task_id = await add(server, clip, "person", loop="pingpong", max_height="320")
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["state"] != "done":
            notices = await subscription.next()
            seen += [dict(n.as_json()) for n in notices or () if n.kind == "avatar_task"]
            assert seen[-1]["state"] != "failed", seen[-1]
    assert [task["progress"] for task in seen] == sorted(task["progress"] for task in seen)
    assert seen[-1] == await finished(server, task_id)
    assert seen[-1]["progress"] == 1
    listed = {avatar["name"]: avatar for avatar in (await server.http.get("/v1/avatars")).json()["avatars"]}
    assert listed["person"]["height"] == 320
    assert listed["person"]["speakable_frames"] == listed["person"]["frames"] == FRAMES
    assert listed["person"]["loop"] == "pingpong"
    assert listed["person"]["checkpoint"] == "tiny"
    # Drawn weights draw nobody's mouth, and that is measured.
    assert listed["person"]["fit_db"] == seen[-1]["fit_db"] < LEAST_FIT_DB
    assert listed["person"]["warning"] == seen[-1]["warning"]
    assert "can't draw this face" in listed["person"]["warning"]
    assert (await server.http.get("/v1/avatars/person/preview.png")).content[1:4] == b"PNG"
    PreparedAvatar.open(server.orchestrator.settings.avatars_dir / "person")


async def test_video_becomes_a_motion_of_an_avatar(server: RunningServer, clip: Path) -> None:
    await finished(server, await add(server, clip, "actor", max_height="320"))
    path, files = "/v1/avatars/actor/motions", {"video": ("wave.mp4", clip.read_bytes())}
    fields = {"name": "wave", "from_frame": "5", "to_frame": "24"}
    answer = await server.http.post(path, data=fields, files=files)
    assert answer.status_code == 202, answer.text
    task = await finished(server, answer.json()["task_id"])
    assert (task["state"], task["avatar"], task["motion"], task["progress"]) == ("done", "actor", "wave", 1)
    (motion,) = (await server.http.get(path)).json()["motions"]
    assert (motion["name"], motion["frames"]) == ("wave", 20)
    assert motion["nearest"] < motion["ordinary"], "it was cut out of the avatar's own clip"
    listed = {avatar["name"]: avatar for avatar in (await server.http.get("/v1/avatars")).json()["avatars"]}
    assert listed["actor"]["motions"] == ["wave"]
    refusals = (
        ({"name": "wave"}, 409, "motion_exists"),
        ({"name": "../x"}, 422, "bad_name"),
        ({"name": "nod", "from_frame": "3", "to_frame": "5"}, 422, "bad_frames"),
        ({"name": "nod", "from_frame": "-1"}, 422, "bad_from_frame"),
        ({"name": "nod", "loop": "round"}, 422, "bad_loop"),
    )
    for fields, status, code in refusals:
        answer = await server.http.post(path, data=fields, files=files)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    answer = await server.http.post("/v1/avatars/nobody/motions", data={"name": "nod"}, files=files)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_avatar")
    assert list(server.orchestrator.uploads_dir.iterdir()) == []


async def test_avatar_is_renamed_and_removed(server: RunningServer, clip: Path) -> None:
    await finished(server, await add(server, clip, "before", max_height="320"))
    answer = await server.http.patch("/v1/avatars/before", json={"name": "after"})
    assert answer.json()["name"] == "after"
    assert (await server.http.delete("/v1/avatars/before")).status_code == 404
    for body, status, code in (
        (b'{"name": "demo"}', 409, "avatar_exists"),
        (b'{"name": "../x"}', 422, "bad_name"),
        (b"{", 422, "bad_name"),
        (b'{"name": 1}', 422, "bad_name"),
    ):
        answer = await server.http.patch("/v1/avatars/after", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert (await server.http.delete("/v1/avatars/after")).status_code == 204
    names = [avatar["name"] for avatar in (await server.http.get("/v1/avatars")).json()["avatars"]]
    assert "after" not in names and "before" not in names


async def test_avatar_that_a_channel_plays_stays_as_it_is(server: RunningServer, clip: Path) -> None:
    for answer in (
        await server.http.delete("/v1/avatars/demo"),
        await server.http.patch("/v1/avatars/demo", json={"name": "other"}),
        await server.http.post("/v1/avatars", data={"name": "demo"}, files={"video": clip.read_bytes()}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "avatar_in_use")
    assert list(server.orchestrator.uploads_dir.iterdir()) == []


async def test_clip_without_a_face_fails_with_its_frames(server: RunningServer, tmp_path: Path) -> None:
    video = tmp_path / "bars.mp4"
    bars = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=0.4", str(video)]
    await asyncio.to_thread(subprocess.run, [ffmpeg_binary(), "-v", "error", *bars], check=True)
    task = await finished(server, await add(server, video, "bars"))
    assert task["state"] == "failed"
    assert task["error"]["code"] == "no_face"
    assert "10 of 10 frames" in task["error"]["message"]
    assert not (server.orchestrator.settings.avatars_dir / "bars").exists()


async def test_cancelled_preparation_leaves_nothing(server: RunningServer, clip: Path, tmp_path: Path) -> None:
    before = names(server)
    long = tmp_path / "long.mp4"
    repeat = ["-stream_loop", "10", "-i", str(clip), "-c", "copy", str(long)]
    await asyncio.to_thread(subprocess.run, [ffmpeg_binary(), "-v", "error", *repeat], check=True)
    first, second = await add(server, long, "first"), await add(server, clip, "second")
    assert (await server.http.delete(f"/v1/avatar-tasks/{second}")).json()["state"] == "cancelled"
    while (await server.http.get(f"/v1/avatar-tasks/{first}")).json()["frames"]["done"] < 10:
        await asyncio.sleep(0.02)
    await server.http.delete(f"/v1/avatar-tasks/{first}")
    assert (await finished(server, first))["state"] == "cancelled"
    assert names(server) == before


@pytest.mark.parametrize(
    ("fields", "content", "status", "code"),
    [
        ({"name": "x"}, b"", 422, "bad_video"),
        ({"name": "x"}, b"no video at all" * 50, 422, "bad_video"),
        ({"name": "x"}, b"\0" * 6_000_000, 413, "upload_too_large"),
        ({}, None, 422, "bad_name"),
        ({"name": "A B"}, None, 422, "bad_name"),
        ({"name": "x", "loop": "round"}, None, 422, "bad_loop"),
        ({"name": "x", "max_height": "12"}, None, 422, "bad_max_height"),
        ({"name": "x", "face": "left"}, None, 422, "bad_face"),
        ({"name": "x", "checkpoint": "latentsync-1.6"}, None, 422, "bad_checkpoint"),
        ({"name": "x", "face": "0.5,1.5"}, None, 422, "bad_face"),
    ],
)
async def test_what_is_no_avatar_is_refused(
    server: RunningServer, clip: Path, fields: dict[str, str], content: bytes | None, status: int, code: str
) -> None:
    files = {"video": ("person.mp4", clip.read_bytes() if content is None else content)}
    answer = await server.http.post("/v1/avatars", data=fields, files=files)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert list(server.orchestrator.uploads_dir.iterdir()) == []


async def test_form_without_a_video_is_told_so(server: RunningServer) -> None:
    answer = await server.http.post("/v1/avatars", data={"name": "x"}, files={"film": b"1"})
    assert answer.json()["error"]["code"] == "video_missing"
    assert "curl -F video=@person.mp4" in answer.json()["error"]["message"]


async def test_unknown_tasks_are_named(server: RunningServer) -> None:
    for method in ("GET", "DELETE"):
        answer = await server.http.request(method, "/v1/avatar-tasks/none")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_task")
