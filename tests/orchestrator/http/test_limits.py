"""Too much is told to come back later; what has arrived before is done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request

from bench.virtual_loop import in_virtual_time
from orchestrator.access.keys import KeyFile, Scope
from orchestrator.http import arriving
from orchestrator.http.errors import ApiError
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.speech_samples import wav

pytestmark = pytest.mark.timeout(60)

FORM = {"Content-Type": "multipart/form-data; boundary=x"}
BEGINNING = b'--x\r\nContent-Disposition: form-data; name="audio_file"; filename="a.wav"\r\n\r\nRIFF'


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert int(answer.headers["Retry-After"]) >= 1


async def test_requests_beyond_the_rate_are_told_when_to_come_back(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, requests_per_minute=30)) as server:
        answers = [await server.http.get("/v1/tasks") for _ in range(30)]
        assert {answer.status_code for answer in answers} == {200}
        while (beyond := await server.http.get("/v1/tasks")).status_code == 200:  # one is allowed again each 2 s
            pass
        refused(beyond, 429, "too_many_requests")
        assert (await server.http.get("/health/live")).status_code == 200
        assert (await server.http.get("/health/ready")).status_code in (200, 503)


async def test_uploads_beyond_their_rate_are_told_when_to_come_back(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, uploads_per_minute=2)) as server:
        await server.ready()
        files = {"audio_file": ("a.wav", wav(0.2))}
        answers = [await server.http.post("/v1/tasks", files=files) for _ in range(3)]
        assert [answer.status_code for answer in answers[:2]] == [200, 200]
        refused(answers[2], 429, "too_many_requests")
        assert (await server.http.get("/v1/tasks")).status_code == 200


async def test_viewer_whose_stream_is_being_opened_has_a_place_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, go_on, opened = asyncio.Event(), asyncio.Event(), asyncio.open_unix_connection

    async def open_slowly(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if opening.is_set():  # by the first viewer
            go_on.set()
        opening.set()
        await go_on.wait()
        return await opened(path)

    async with running(settings_in(tmp_path, preview_viewers=1)) as server, AsyncExitStack() as streams:
        await server.ready()
        channel = server.orchestrator.channels["main"]
        while not (channel.view.status and channel.view.status.preview_codecs):
            await asyncio.sleep(0.05)
        monkeypatch.setattr("asyncio.open_unix_connection", open_slowly)
        path = "/v1/channels/main/preview.mp4"
        first = asyncio.create_task(streams.enter_async_context(server.http.stream("GET", path)))
        await opening.wait()
        second = await streams.enter_async_context(server.http.stream("GET", path))
        go_on.set()
        assert ((await first).status_code, second.status_code) == (200, 503)
        await streams.aclose()
        while channel.viewers:
            await asyncio.sleep(0.01)


async def test_viewer_of_a_stream_that_is_not_there_takes_no_place(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        channel = server.orchestrator.channels["main"]
        channel.preview_socket = tmp_path / "nobody.sock"
        refused(await server.http.get("/v1/channels/main/preview.mp4"), 503, "no_preview")
        assert channel.viewers == 0


async def slow_upload(server: RunningServer, go_on: asyncio.Event) -> httpx.Response:
    async def body() -> AsyncIterator[bytes]:
        yield BEGINNING
        await go_on.wait()
        yield b"\r\n--x--\r\n"

    return await server.http.post("/v1/tasks", content=body(), headers=FORM)


async def test_upload_waits_its_turn_when_all_places_are_taken(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, uploads_at_once=1)) as server:
        await server.ready()
        go_on = asyncio.Event()
        first = asyncio.create_task(slow_upload(server, go_on))
        while not server.orchestrator.uploads.taken:
            await asyncio.sleep(0.01)
        files = {"audio_file": ("a.wav", wav(0.2))}
        refused(await server.http.post("/v1/tasks", files=files), 503, "busy")
        go_on.set()
        assert (await first).status_code == 422
        assert (await server.http.post("/v1/tasks", files=files)).status_code == 200


async def test_one_key_leaves_places_for_the_others(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, require_key=True, uploads_at_once=4, event_listeners=4)
    keys = KeyFile(settings.keys_path)
    many = {"Authorization": f"Bearer {keys.add('many', Scope.SPEAK)}"}
    other = {"Authorization": f"Bearer {keys.add('other', Scope.SPEAK)}"}
    async with running(settings) as server:
        await server.ready()
        go_on = asyncio.Event()
        server.http.headers.update(many)
        held = [asyncio.create_task(slow_upload(server, go_on)) for _ in range(2)]
        while server.orchestrator.uploads.taken < 2:
            await asyncio.sleep(0.01)
        files = {"audio_file": ("a.wav", wav(0.2))}
        refused(await server.http.post("/v1/tasks", files=files), 503, "busy")
        assert (await server.http.post("/v1/tasks", files=files, headers=other)).status_code == 200
        go_on.set()
        assert [(await each).status_code for each in held] == [422, 422]
        assert (await server.http.post("/v1/tasks", files=files)).status_code == 200
        async with AsyncExitStack() as listening:
            for _ in range(2):
                await listening.enter_async_context(server.http.stream("GET", "/v1/events"))
            refused(await server.http.get("/v1/events"), 503, "busy")
            await listening.enter_async_context(server.http.stream("GET", "/v1/events", headers=other))


BLOCK = b"x" * 1000


def body_of(blocks: int, pause_s: float) -> Request:
    """A request whose body comes block by block, with a pause before each."""
    left = [True] * (blocks - 1) + [False]

    async def receive() -> dict[str, object]:
        await asyncio.sleep(pause_s)
        return {"type": "http.request", "body": BLOCK, "more_body": left.pop(0)}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def test_large_upload_may_take_longer_when_it_keeps_its_rate() -> None:
    async def read(pause_s: float) -> int:
        return sum([len(data) async for data in arriving.arriving(body_of(400, pause_s), 300.0, 100.0)])

    assert in_virtual_time(read(pause_s=9.0)) == 400 * len(BLOCK), "an hour at 111 bytes a second"
    with pytest.raises(ApiError, match=r"more than 300 s and came at less than 0\.1 kB a second"):
        in_virtual_time(read(pause_s=15.0))


async def answer_to_a_part(server: RunningServer, path: str, part: bytes) -> bytes:
    """What a client gets that sends a part of its body and then nothing."""
    settings = server.orchestrator.settings
    reader, writer = await asyncio.open_connection(settings.http_host, settings.http_port)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000\r\nContent-Type: {FORM['Content-Type']}"
    writer.write(head.encode() + b"\r\n\r\n" + part)
    answer = await reader.read()
    writer.close()
    return answer


async def test_upload_that_does_not_arrive_in_time_is_given_up(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, upload_timeout_s=0.3)) as server:
        await server.ready()
        answer = await answer_to_a_part(server, "/v1/tasks", BEGINNING)
        assert answer.startswith(b"HTTP/1.1 408 ") and b"upload_stalled" in answer
        assert server.orchestrator.uploads.taken == 0
        assert list(server.orchestrator.files.incoming.iterdir()) == []


async def test_body_that_stops_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving, "_STALLED_S", 0.3)
    async with running(settings_in(tmp_path)) as server:
        assert (await answer_to_a_part(server, "/v1/channels", b"{")).startswith(b"HTTP/1.1 408 ")


async def test_listeners_beyond_the_limit_are_sent_away_and_their_places_come_back(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, event_listeners=1)) as server:
        async with server.http.stream("GET", "/v1/events") as events:
            await anext(events.aiter_lines())
            refused(await server.http.get("/v1/events"), 503, "busy")
        while server.orchestrator.listeners.taken:
            await asyncio.sleep(0.01)
        async with server.http.stream("GET", "/v1/events") as events:
            assert await anext(events.aiter_lines()) == "event: channel"


async def test_name_that_may_be_anybodys_is_not_answered_without_keys(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, allowed_hosts=("studio.example",))) as server:
        for host, status in (
            ("evil.example", 421),
            ("[::", 421),
            ("localhost:11001", 200),
            ("127.0.0.1:11001", 200),
            ("[::1]:11001", 200),
            ("studio.example", 200),
        ):
            answer = await server.http.get("/v1/tasks", headers={"Host": host})
            assert answer.status_code == status, host
