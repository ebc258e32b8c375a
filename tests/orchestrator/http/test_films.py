"""Avatars from a picture over HTTP: ordered from a service, prepared, and gone on with after a restart."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.responses import JSONResponse, Response

from inference.launcher import TritonServer
from speech.audio.decoder import ffmpeg_binary
from tests.support.checkout import ROOT
from tests.support.film_services import VideosServer
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.tiny_checkpoint import RESOLUTION

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

FRAMES = 30
FINAL = ("done", "failed", "cancelled")
Serve = Callable[[], Any]


def cut(target: Path, *options: str) -> bytes:
    source = ROOT / "checkpoints" / "demo" / "avatar" / "idle.mp4"
    subprocess.run([ffmpeg_binary(), "-v", "error", "-i", source, *options, target], check=True)
    return target.read_bytes()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The demo's person, as a picture."""
    return cut(tmp_path_factory.mktemp("picture") / "person.png", "-frames:v", "1")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a service makes of it."""
    return cut(tmp_path_factory.mktemp("film") / "film.mp4", "-frames:v", str(FRAMES), "-an", "-vf", "scale=-2:320")


@pytest.fixture(scope="module")
def walls(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A film in which there is nobody."""
    target = tmp_path_factory.mktemp("walls") / "walls.mp4"
    source = ["-f", "lavfi", "-i", f"testsrc2=size=320x320:rate=25:duration={FRAMES / 25}"]
    subprocess.run([ffmpeg_binary(), "-v", "error", *source, target], check=True)
    return target.read_bytes()


@pytest_asyncio.fixture(loop_scope="session")
async def service(film: bytes) -> AsyncIterator[VideosServer]:
    service = VideosServer(film)
    async with service.running():
        yield service


@pytest.fixture
def serve(tmp_path: Path, triton_server: TritonServer, service: VideosServer) -> Serve:
    if not (ROOT / "checkpoints" / "face").is_dir():
        pytest.skip("the face models are not fetched: run `latentsync-realtime fetch`")
    settings = settings_in(
        tmp_path, triton_url=f"127.0.0.1:{triton_server.options.grpc_port}", film_service="openai",
        film_url=f"{service.url}/v1", film_key="sk-secret",
    )  # fmt: skip
    (tmp_path / "checkpoints" / "face").symlink_to(ROOT / "checkpoints" / "face")

    @asynccontextmanager
    async def served() -> AsyncIterator[RunningServer]:
        async with running(settings, real_client=True, resolution=RESOLUTION) as server:
            await server.ready()
            yield server

    return served


async def order(server: RunningServer, picture: bytes, name: str = "drawn", **fields: str) -> httpx.Response:
    files = {"picture": ("person.png", picture)}
    return await server.http.post(
        "/v1/avatars/films", data={"name": name, "prompt": "she listens", **fields}, files=files
    )


async def task_when(
    server: RunningServer, task_id: str, right: Callable[[dict[str, Any]], bool] = lambda task: task["state"] in FINAL
) -> dict[str, Any]:
    while True:
        task: dict[str, Any] = (await server.http.get(f"/v1/avatar-tasks/{task_id}")).json()
        if right(task):
            return task
        assert task["state"] not in FINAL, task
        await asyncio.sleep(0.05)


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.02)


def orders_on_disk(server: RunningServer) -> list[Path]:
    return list((server.orchestrator.settings.data_dir / "films").glob("*"))


async def test_picture_becomes_an_avatar(serve: Serve, service: VideosServer, picture: bytes) -> None:
    async with serve() as server:
        answer = await order(server, picture, prompt="she says “hello”")
        assert answer.status_code == 202, answer.text
        filming = await task_when(server, answer.json()["task_id"], lambda task: task["progress"] > 0)
        assert filming["state"] == "filming" and filming["progress"] == 0.2, "half of what the service says"
        done = await task_when(server, answer.json()["task_id"])
        assert (done["state"], done["progress"]) == ("done", 1.0)
        avatars = {avatar["name"]: avatar for avatar in (await server.http.get("/v1/avatars")).json()["avatars"]}
        assert avatars["drawn"]["frames"] == FRAMES
        assert service.orders == [{"model": "sora-2", "prompt": "she says “hello”"}]
        assert service.pictures == [picture]
        assert orders_on_disk(server) == []


async def test_order_goes_on_after_a_restart_and_is_paid_once(
    serve: Serve, service: VideosServer, picture: bytes
) -> None:
    service.answer = lambda look: {"status": "in_progress", "progress": 10}
    async with serve() as server:
        task_id = (await order(server, picture)).json()["task_id"]
        await task_when(server, task_id, lambda task: task["progress"] > 0)
    service.answer = lambda look: {"status": "completed"}
    async with serve() as server:
        assert (await task_when(server, task_id))["state"] == "done"
        assert len(service.orders) == 1 and orders_on_disk(server) == []


async def test_order_that_may_have_been_taken_is_not_sent_again(
    serve: Serve, service: VideosServer, picture: bytes
) -> None:
    asked = asyncio.Event()

    def begin() -> Response | None:
        asked.set()
        return None

    service.begin = begin
    service.before_answer = asyncio.Event()
    async with serve() as server:
        task_id = (await order(server, picture)).json()["task_id"]
        await asked.wait()
    service.before_answer.set()
    async with serve() as server:
        failed = await task_when(server, task_id)
        assert failed["error"]["code"] == "film_lost" and "Order again" in failed["error"]["message"]
        assert orders_on_disk(server) == [] and service.looks == 0


async def test_film_without_a_usable_face_says_why(
    serve: Serve, service: VideosServer, picture: bytes, walls: bytes
) -> None:
    service.video = walls
    async with serve() as server:
        failed = await task_when(server, (await order(server, picture)).json()["task_id"])
        assert failed["error"]["code"] == "no_face" and f"{FRAMES} of {FRAMES}" in failed["error"]["message"]
        assert orders_on_disk(server) == []


async def test_film_that_is_no_video_says_so(serve: Serve, service: VideosServer, picture: bytes) -> None:
    service.video = b"<html>come back later</html>"
    async with serve() as server:
        failed = await task_when(server, (await order(server, picture)).json()["task_id"])
        assert failed["error"]["code"] == "bad_video"


async def test_cancelled_order_is_stopped_at_the_service(serve: Serve, service: VideosServer, picture: bytes) -> None:
    service.answer = lambda look: {"status": "queued"}
    async with serve() as server:
        task_id = (await order(server, picture)).json()["task_id"]
        await until(lambda: service.looks > 0)
        assert (await server.http.delete(f"/v1/avatar-tasks/{task_id}")).status_code == 200
        assert (await task_when(server, task_id))["state"] == "cancelled"
        await until(lambda: service.stopped == ["video_1"])
        assert orders_on_disk(server) == []


async def test_refusals_say_what_to_do_and_cost_nothing(
    serve: Serve, service: VideosServer, picture: bytes, tmp_path: Path
) -> None:
    wall = cut(tmp_path / "wall.png", "-vf", "crop=64:64:0:0,scale=320:320", "-frames:v", "1")
    async with serve() as server:
        expected: list[tuple[Awaitable[httpx.Response], int, str]] = [
            (order(server, b"GIF89a and more"), 422, "bad_picture"),
            (order(server, picture[:300]), 422, "bad_picture"),
            (order(server, b""), 422, "bad_picture"),
            (order(server, wall), 422, "no_face"),
            (order(server, picture, "../drawn"), 422, "bad_name"),
            (order(server, picture, prompt=""), 422, "bad_prompt"),
            (order(server, picture, seed="x"), 422, "bad_seed"),
            (order(server, picture, checkpoint="latentsync-1.6"), 422, "bad_checkpoint"),
            (order(server, picture + bytes(20_000_000)), 413, "upload_too_large"),
            (order(server, picture, server.orchestrator.settings.avatar), 409, "avatar_in_use"),
        ]
        for answer, status, code in expected:
            refused = await answer
            assert (refused.status_code, refused.json()["error"]["code"]) == (status, code), refused.text
        service.begin = lambda: JSONResponse({"error": {"message": "No real people."}}, 400)
        failed = await task_when(server, (await order(server, picture)).json()["task_id"])
        assert failed["error"]["code"] == "film_refused" and "No real people." in failed["error"]["message"]
        assert service.orders == [] and orders_on_disk(server) == []
        assert list(server.orchestrator.uploads_dir.iterdir()) == []


async def test_film_becomes_a_motion_of_the_avatar_that_it_shows(
    serve: Serve, service: VideosServer, picture: bytes, walls: bytes
) -> None:
    async with serve() as server:
        await task_when(server, (await order(server, picture)).json()["task_id"])
        ordered = await order(server, picture, "wave", motion_of="drawn")
        assert ordered.status_code == 202, ordered.text
        done = await task_when(server, ordered.json()["task_id"])
        assert (done["state"], done["avatar"], done["motion"]) == ("done", "drawn", "wave")
        motions = (await server.http.get("/v1/avatars/drawn/motions")).json()["motions"]
        assert [(motion["name"], motion["frames"]) for motion in motions] == [("wave", FRAMES)]
        assert [each["name"] for each in (await server.http.get("/v1/avatars")).json()["avatars"]].count("wave") == 0
        paid = len(service.orders)
        for name, fields, status, code in (
            ("wave", {"motion_of": "drawn"}, 409, "motion_exists"),
            ("nod", {"motion_of": "nobody"}, 404, "unknown_avatar"),
            ("nod", {"motion_of": "drawn", "max_height": "320"}, 422, "bad_max_height"),
            ("nod", {"motion_of": "drawn", "face": "0.5,0.5"}, 422, "bad_face"),
            ("nod", {"motion_of": "drawn", "checkpoint": "tiny"}, 422, "bad_checkpoint"),
        ):
            refused = await order(server, picture, name, **fields)
            assert (refused.status_code, refused.json()["error"]["code"]) == (status, code), refused.text
        assert len(service.orders) == paid, "nobody pays for what can't become one"
        service.video = walls
        failed = await task_when(server, (await order(server, picture, "nod", motion_of="drawn")).json()["task_id"])
        assert failed["error"]["code"] == "no_face"


async def test_order_of_a_motion_is_one_after_a_restart(serve: Serve, service: VideosServer, picture: bytes) -> None:
    async with serve() as server:
        await task_when(server, (await order(server, picture)).json()["task_id"])
        service.answer = lambda look: {"status": "in_progress", "progress": 10}
        task_id = (await order(server, picture, "wave", motion_of="drawn")).json()["task_id"]
        await task_when(server, task_id, lambda task: task["progress"] > 0)
    service.answer = lambda look: {"status": "completed"}
    async with serve() as server:
        done = await task_when(server, task_id)
        assert (done["state"], done["avatar"], done["motion"]) == ("done", "drawn", "wave")
