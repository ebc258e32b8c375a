"""Each service over real HTTP: what it is asked, what it answers, and how it fails."""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.responses import JSONResponse, Response

from filming.comfyui import BadWorkflow, ComfyUi, Workflow
from filming.film import FilmLimits, filmed
from filming.openai_videos import OpenAiVideos, VideosProvider
from filming.redirects import Address, OutwardRedirects
from filming.service import FilmError, FilmFault, FilmOrder, FilmProgress, FilmService, ServiceAway
from tests.support.film_services import ComfyServer, VideosServer, write_workflow

VIDEO = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 40
PICTURE = b"\x89PNG\r\n\x1a\n" + b"pixels"


class Time:
    """Seconds that pass while nobody looks."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waited: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waited.append(seconds)


@pytest.fixture
def order(tmp_path: Path) -> FilmOrder:
    picture = tmp_path / "person.png"
    picture.write_bytes(PICTURE)
    return FilmOrder(picture, 'she says "yes", and nods', seed=7)


def redirected(to: str) -> Response:
    return Response(status_code=302, headers={"Location": to})


@pytest_asyncio.fixture
async def videos() -> AsyncIterator[VideosServer]:
    server = VideosServer(VIDEO)
    async with server.running():
        yield server


@pytest_asyncio.fixture
async def comfy() -> AsyncIterator[ComfyServer]:
    server = ComfyServer(VIDEO)
    async with server.running():
        yield server


def openai(server: VideosServer) -> OpenAiVideos:
    return OpenAiVideos(VideosProvider(f"{server.url}/v1", "film-1", "sk-secret", "720x1280", 8))


def comfyui(server: ComfyServer, folder: Path) -> ComfyUi:
    return ComfyUi(server.url, Workflow.read(write_workflow(folder / "workflow.json")))


async def made(
    service: FilmService, order: FilmOrder, into: Path, time: Time | None = None, **limits: Any
) -> list[FilmProgress]:
    """The video from its order to its file, and what was told meanwhile."""
    told: list[FilmProgress] = []
    time = time or Time()
    try:
        job = await service.begin(order)
        await filmed(service, job, into, FilmLimits(**limits), told.append, time, time.sleep)
    finally:
        await service.aclose()
    return told


async def test_openai_is_asked_for_a_video_of_the_picture(
    videos: VideosServer, order: FilmOrder, tmp_path: Path
) -> None:
    told = await made(openai(videos), order, tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_bytes() == VIDEO
    assert videos.orders == [{"model": "film-1", "prompt": order.prompt, "size": "720x1280", "seconds": "8"}]
    assert (videos.pictures, videos.keys) == ([PICTURE], ["Bearer sk-secret"])
    assert told == [FilmProgress(False, 0.4), FilmProgress(True, 1.0)]


async def test_comfyui_runs_the_workflow_with_picture_text_and_seed(
    comfy: ComfyServer, order: FilmOrder, tmp_path: Path
) -> None:
    told = await made(comfyui(comfy, tmp_path), order, tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_bytes() == VIDEO
    (nodes,) = comfy.orders
    assert nodes["2"]["inputs"] == {"image": ["1", 0], "text": f"film: {order.prompt}", "seed": 7}
    assert nodes["1"]["inputs"]["image"].endswith(".png") and comfy.pictures == [PICTURE]
    assert [progress.ready for progress in told] == [False, True]


@pytest.mark.parametrize(
    ("answer", "fault", "said"),
    [
        (JSONResponse({"error": {"message": "a face of a real person"}}, 400), FilmFault.REFUSED, "a face of a real"),
        (JSONResponse({"error": {"message": "bad key sk-secret"}}, 401), FilmFault.REFUSED, "refuses the server's key"),
        (Response("busy", 429), FilmFault.AWAY, "429"),
        (Response("<html>hello</html>"), FilmFault.FAILED, "no JSON object"),
        (JSONResponse({"object": "video"}), FilmFault.FAILED, "no text 'id'"),
        (JSONResponse({"id": "../files"}), FilmFault.FAILED, "'../files'"),
        (Response("x" * 5_000_000), FilmFault.FAILED, "no answer"),
    ],
)
async def test_an_order_that_is_not_taken_says_why_and_is_asked_once(
    videos: VideosServer, order: FilmOrder, tmp_path: Path, answer: Response, fault: FilmFault, said: str
) -> None:
    videos.begin = lambda: answer
    with pytest.raises(FilmError, match=said) as refused:
        await made(openai(videos), order, tmp_path / "film.mp4")
    assert refused.value.fault is fault and "sk-secret" not in refused.value.message
    assert len(videos.keys) == 1, "an order may cost money: it isn't sent twice"


async def test_a_service_that_is_away_for_a_while_loses_no_video(
    videos: VideosServer, order: FilmOrder, tmp_path: Path
) -> None:
    videos.answer = lambda look: (
        Response("", 503, headers={"Retry-After": "42"}) if look < 3 else {"status": "completed"}
    )
    time = Time()
    await made(openai(videos), order, tmp_path / "film.mp4", time)
    assert (tmp_path / "film.mp4").read_bytes() == VIDEO
    assert time.waited == [42.0] * 3


async def test_a_full_disk_loses_no_video(videos: VideosServer, order: FilmOrder, tmp_path: Path) -> None:
    into, time = tmp_path / "film.mp4", Time()
    into.symlink_to("/dev/full")  # until what was begun there is removed
    await made(openai(videos), order, into, time, seconds=30.0)
    assert into.read_bytes() == VIDEO and not into.is_symlink()
    assert time.waited[-1] == 60.0, "longer than the limit: what is ready isn't late"


async def test_a_disk_that_fails_ends_the_order(videos: VideosServer, order: FilmOrder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await made(openai(videos), order, tmp_path / "nowhere" / "film.mp4")


async def test_a_service_that_stays_away_is_given_up(videos: VideosServer, order: FilmOrder, tmp_path: Path) -> None:
    videos.answer = lambda look: Response("", 502)
    time = Time()
    with pytest.raises(ServiceAway, match="502"):
        await made(openai(videos), order, tmp_path / "film.mp4", time, away_s=60.0)
    assert 60 <= time.now < 90


async def test_a_video_that_is_never_ready_ends_at_its_limit(
    videos: VideosServer, order: FilmOrder, tmp_path: Path
) -> None:
    videos.answer = lambda look: {"status": "queued"}
    time = Time()
    with pytest.raises(FilmError, match="film_timeout_s") as late:
        await made(openai(videos), order, tmp_path / "film.mp4", time, seconds=100.0)
    assert late.value.fault is FilmFault.LATE and time.now <= 100


async def test_a_video_that_the_service_gave_up_tells_its_reason(
    videos: VideosServer, order: FilmOrder, tmp_path: Path
) -> None:
    videos.answer = lambda look: {"status": "failed", "error": {"code": "moderation", "message": "not allowed"}}
    with pytest.raises(FilmError, match="not allowed"):
        await made(openai(videos), order, tmp_path / "film.mp4")


async def test_a_video_that_is_too_large_is_not_kept(videos: VideosServer, order: FilmOrder, tmp_path: Path) -> None:
    with pytest.raises(FilmError, match="film_limit_bytes"):
        await made(openai(videos), order, tmp_path / "film.mp4", most_bytes=2_000)
    assert (tmp_path / "film.mp4").stat().st_size <= 2_000


async def test_a_server_that_is_not_there_is_away(order: FilmOrder, tmp_path: Path) -> None:
    with pytest.raises(ServiceAway, match="can't be reached"):
        await made(OpenAiVideos(VideosProvider("http://127.0.0.1:9/v1", "film-1")), order, tmp_path / "film.mp4")


async def test_comfyui_tells_which_node_failed(comfy: ComfyServer, order: FilmOrder, tmp_path: Path) -> None:
    comfy.failure = '{"node_type": "Animate", "exception_message": "CUDA out of memory"}'
    with pytest.raises(FilmError, match="Animate: CUDA out of memory"):
        await made(comfyui(comfy, tmp_path), order, tmp_path / "film.mp4")


async def test_comfyui_that_was_started_anew_has_lost_the_video(
    comfy: ComfyServer, order: FilmOrder, tmp_path: Path
) -> None:
    service = comfyui(comfy, tmp_path)
    comfy.waits_for = 10
    await service.begin(order)
    with pytest.raises(FilmError, match="started anew") as lost:
        await service.look("job-of-before")
    assert lost.value.fault is FilmFault.LOST
    await service.aclose()


async def test_a_workflow_that_saves_no_video_says_so(comfy: ComfyServer, order: FilmOrder, tmp_path: Path) -> None:
    comfy.saves = [{"filename": "still.png", "subfolder": "", "type": "output"}]
    with pytest.raises(FilmError, match="no video"):
        await made(comfyui(comfy, tmp_path), order, tmp_path / "film.mp4")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ('{"nodes": [], "links": []}', "Export \\(API\\)"),
        ('{"1": {"class_type": "A"}}', "{{picture}}"),
    ],
)
def test_a_file_that_is_no_workflow_says_what_to_do(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "workflow.json").write_text(text)
    with pytest.raises(BadWorkflow, match=said):
        Workflow.read(tmp_path / "workflow.json")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (redirected("http://169.254.169.254/latest/meta-data/"), "this server's own network"),
        (redirected("http://[::ffff:169.254.169.254]/"), "this server's own network"),
        (redirected("http://2852039166/"), "this server's own network"),
        (redirected("file:///etc/passwd"), "UnsupportedProtocol"),
        (redirected("/v1/videos/again"), "TooManyRedirects"),
        (Response(b"{}", headers={"Content-Encoding": "gzip"}), "DecodingError"),
        (Response(b"[" * 100_000), "no JSON object"),
        (Response(b'{"status": "failed", "error": "No\\ud83d."}'), r"No\?\."),
    ],
)
async def test_an_answer_that_can_not_be_used_says_why(
    videos: VideosServer, order: FilmOrder, tmp_path: Path, answer: Response, said: str
) -> None:
    videos.answer = lambda look: answer
    with pytest.raises(FilmError, match=said) as refused:
        await made(openai(videos), order, tmp_path / "film.mp4")
    assert refused.value.fault is FilmFault.FAILED and refused.value.message.encode()


@pytest.mark.parametrize(
    ("home", "to", "may"),
    [
        ("8.8.8.8", "1.1.1.1", True),
        ("8.8.8.8", "10.0.0.1", False),
        ("8.8.8.8", "127.0.0.1", False),
        ("10.0.0.1", "10.0.0.2", True),
        ("10.0.0.1", "169.254.169.254", False),
        ("10.0.0.1", "fe80::1", False),
    ],
)
async def test_a_service_redirects_into_no_network_but_its_own(home: str, to: str, may: bool) -> None:
    async def resolve(url: httpx.URL) -> list[Address]:
        return [ipaddress.ip_address(home if url.host == "home" else to)]

    redirects = OutwardRedirects("https://home/v1", resolve)
    await redirects(httpx.Request("GET", "https://home/v1/videos/1"))
    with nullcontext() if may else pytest.raises(FilmError, match="own network"):
        await redirects(httpx.Request("GET", "https://store/1.mp4"))


async def test_progress_that_is_no_number_is_none_at_all(
    videos: VideosServer, order: FilmOrder, tmp_path: Path
) -> None:
    said = iter([b"NaN", b"Infinity", b"-3", b"1" + b"0" * 400, b'"7"'])
    videos.answer = lambda look: (
        {"status": "completed"}
        if (progress := next(said, None)) is None
        else Response(b'{"status": "queued", "progress": ' + progress + b"}")
    )
    told = await made(openai(videos), order, tmp_path / "film.mp4")
    assert [progress.share for progress in told] == [0.0, 1.0, 0.0, 1.0, None, 1.0]
