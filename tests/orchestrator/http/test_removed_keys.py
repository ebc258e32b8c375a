"""What is open by a key that is removed, or by a session that ends, ends within seconds, and says why."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from orchestrator.access.keys import KeyFile, Scope
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.sockets import PATH, START, open_socket, receive, send, tone
from tests.support.speech_samples import wav
from tests.support.synthesisers import ToneSynthesiser

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

TEXT = {"type": "start", "format": "text"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    settings = settings_in(
        tmp_path_factory.mktemp("server"),
        require_key=True,
        responder="openai",  # one that nobody asks
        responder_url="http://127.0.0.1:9",
    )
    ops = KeyFile(settings.keys_path).add("ops", Scope.ADMINISTER)
    async with running(settings) as started:
        started.http.headers.update(bearer(ops))
        started.orchestrator.synthesiser = ToneSynthesiser()
        await started.ready()
        yield started


@pytest.fixture
def keys(server: RunningServer) -> KeyFile:
    return KeyFile(server.orchestrator.settings.keys_path)


@pytest.fixture
def leaver(keys: KeyFile) -> str:
    """A key that the test removes."""
    if any(key.name == "leaver" for key in keys.all()):
        keys.remove("leaver")
    return keys.add("leaver", Scope.ADMINISTER)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def closed(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Close code and reason, once it is closed."""
    try:
        while True:
            await socket.recv()
    except ConnectionClosed:
        return socket.close_code, socket.close_reason


@pytest.mark.parametrize(
    ("path", "first"),
    [
        (PATH, START),
        (PATH, None),
        ("/v1/channels/main/conversation", TEXT),
        ("/v1/channels/main/realtime", None),
    ],
    ids=["speech", "unused", "conversation", "realtime"],
)
async def test_socket_is_closed_with_its_key_and_no_other(
    server: RunningServer, keys: KeyFile, leaver: str, path: str, first: dict[str, object] | None
) -> None:
    async with open_socket(
        server, PATH, additional_headers={"Authorization": server.http.headers["Authorization"]}
    ) as other:
        async with open_socket(server, path, additional_headers=bearer(leaver)) as socket:
            if first is not None:
                await send(socket, first)
                await socket.recv()
            keys.remove("leaver")
            assert await closed(socket) == (4401, "key_removed")
        await send(other, START)
        await receive(other, "accepted")
    while server.orchestrator.sockets.taken:
        await asyncio.sleep(0.05)


async def test_speech_that_was_received_is_said_as_after_any_loss_of_its_source(
    server: RunningServer, keys: KeyFile, leaver: str
) -> None:
    async with open_socket(server, PATH, additional_headers=bearer(leaver)) as socket:
        await send(socket, START)
        task_id = (await receive(socket, "accepted"))["task_id"]
        await send(socket, tone(0.5))
        keys.remove("leaver")
        await closed(socket)
    task = await server.task(task_id, "failed")
    assert task["error"]["code"] == "source_lost" and task["frames"]["heard"] == pytest.approx(12, abs=1)


async def test_events_end_with_the_reason(server: RunningServer, keys: KeyFile, leaver: str) -> None:
    async with server.http.stream("GET", "/v1/events", headers=bearer(leaver)) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        keys.remove("leaver")
        said = [line async for line in lines if line]
    assert said[-2] == "event: error"
    assert json.loads(said[-1].removeprefix("data: "))["code"] == "key_removed"


async def test_preview_ends(server: RunningServer, keys: KeyFile, leaver: str) -> None:
    async with server.http.stream("GET", "/v1/channels/main/preview.mp4", headers=bearer(leaver)) as answer:
        chunks = answer.aiter_bytes()
        await anext(chunks)
        keys.remove("leaver")
        async for _ in chunks:
            pass
    while server.orchestrator.channels["main"].viewers:
        await asyncio.sleep(0.05)


async def test_body_that_still_arrives_is_refused(server: RunningServer, keys: KeyFile, leaver: str) -> None:
    async def speak() -> AsyncIterator[bytes]:
        yield wav(0.5)
        keys.remove("leaver")
        while True:
            await asyncio.sleep(0.05)
            yield bytes(2)

    try:
        answer = await server.http.put(PATH, content=speak(), headers=bearer(leaver))
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "key_removed")
    except httpx.TransportError:  # it was sending, and saw the end of the connection first
        pass
    while server.orchestrator.sockets.taken:
        await asyncio.sleep(0.05)


async def test_session_of_the_page_ends_what_it_opened(server: RunningServer, leaver: str) -> None:
    url = str(server.http.base_url)
    async with httpx.AsyncClient(base_url=url) as page:
        assert (await page.post("/v1/session", json={"key": leaver})).status_code < 300
        async with page.stream("GET", "/v1/events") as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            async with httpx.AsyncClient(base_url=url, cookies=page.cookies) as other_tab:
                await other_tab.delete("/v1/session")
            assert [line async for line in lines if line][-2] == "event: error"


async def test_keys_that_cannot_be_read_now_end_nothing(server: RunningServer, keys: KeyFile, leaver: str) -> None:
    kept = keys.path.read_bytes()
    async with open_socket(server, PATH, additional_headers=bearer(leaver)) as socket:
        keys.path.write_bytes(b"{")
        await asyncio.sleep(2.5)
        keys.path.write_bytes(kept)
        await send(socket, START)
        await receive(socket, "accepted")
