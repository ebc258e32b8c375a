"""What a request must be to be answered, a WebSocket must be too."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed

from orchestrator.access.keys import KeyFile, Scope
from orchestrator.http import read_watch
from orchestrator.http.guard import guarded_socket
from orchestrator.http.sent_key import answered_subprotocol
from tests.support.running_server import RunningServer, metric, running, settings_in
from tests.support.sockets import open_socket, refusal

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]


async def echo(socket: WebSocket) -> None:
    await socket.accept(answered_subprotocol(socket))
    async for text in socket.iter_text():
        await socket.send_text(text)


def with_echo(server: RunningServer) -> RunningServer:
    """The server with a WebSocket of the test's own, guarded as all are."""
    app = server.server.config.app
    assert isinstance(app, Starlette)
    app.router.routes.append(WebSocketRoute("/echo", guarded_socket(echo, Scope.SPEAK)))
    return server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """One that asks for keys."""
    settings = settings_in(tmp_path_factory.mktemp("server"), require_key=True)
    KeyFile(settings.keys_path).add("first", Scope.ADMINISTER)
    async with running(settings) as started:
        yield with_echo(started)


def key(server: RunningServer, scope: Scope) -> str:
    keys = KeyFile(server.orchestrator.settings.keys_path)
    if any(each.name == scope.value for each in keys.all()):
        keys.remove(scope.value)
    return keys.add(scope.value, scope)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def echoes(server: RunningServer, **options: Any) -> None:
    async with open_socket(server, "/echo", **options) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"


async def test_socket_without_a_key_is_refused_before_it_is_opened(server: RunningServer) -> None:
    assert await refusal(server, "/echo") == (401, "key_required")
    assert await refusal(server, "/echo", additional_headers=bearer("lsr_wrong")) == (401, "unknown_key")
    cookie = f"latentsync_session_{server.orchestrator.settings.http_port}=wrong"
    assert await refusal(server, "/echo", additional_headers={"Cookie": cookie}) == (401, "key_required")
    assert await refusal(server, "/echo", subprotocols=["latentsync", "bearer.lsr_wrong"]) == (401, "unknown_key")


async def test_key_whose_scope_is_too_small_is_refused(server: RunningServer) -> None:
    assert await refusal(server, "/echo", additional_headers=bearer(key(server, Scope.VIEW))) == (403, "scope_missing")


async def test_key_in_the_header_opens_a_socket(server: RunningServer) -> None:
    await echoes(server, additional_headers=bearer(key(server, Scope.SPEAK)))


async def test_session_of_the_page_opens_a_socket_from_the_page_alone(server: RunningServer) -> None:
    secret = key(server, Scope.SPEAK)
    begun = await server.http.post("/v1/session", json={"key": secret})
    server.http.cookies.clear()
    cookie = {"Cookie": begun.headers["Set-Cookie"].partition(";")[0]}
    await echoes(server, additional_headers=cookie, origin=str(server.http.base_url).rstrip("/"))
    for origin in ("https://elsewhere.example", "null", "http://["):
        assert await refusal(server, "/echo", additional_headers=cookie, origin=origin) == (403, "foreign_origin")


async def test_page_of_another_site_opens_a_socket_by_a_key_of_its_own(server: RunningServer) -> None:
    offered = ["latentsync", f"bearer.{key(server, Scope.SPEAK)}"]
    async with open_socket(server, "/echo", subprotocols=offered, origin="https://elsewhere.example") as socket:
        assert socket.subprotocol == "latentsync", "and not the key"
        await socket.send("hello")
        assert await socket.recv() == "hello"


async def test_path_without_a_socket_is_said_to_be_none(server: RunningServer) -> None:
    secret = bearer(key(server, Scope.SPEAK))
    for path in ("/nothing", "/v1/tasks", "/", "/page/main.js"):
        assert await refusal(server, path, additional_headers=secret) == (404, "not_found"), path
    answer = await server.http.get("/nothing", headers=secret)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_refusals_carry_the_headers_of_all_answers_and_are_counted(server: RunningServer) -> None:
    line = 'latentsync_http_requests_total{method="WEBSOCKET",route="/echo",status="401"}'
    server.http.headers.update(bearer(key(server, Scope.ADMINISTER)))
    before = await metric(server, line)
    await refusal(server, "/echo")
    assert await metric(server, line) == before + 1
    del server.http.headers["Authorization"]


async def test_no_page_speaks_for_a_server_without_keys_but_its_own(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, allowed_hosts=("studio.example",))) as started:
        server = with_echo(started)
        await echoes(server)
        await echoes(server, origin=str(server.http.base_url).rstrip("/"))
        foreign = "https://elsewhere.example"
        assert await refusal(server, "/echo", origin=foreign) == (403, "foreign_origin")
        by_key = await refusal(server, "/echo", origin=foreign, subprotocols=["latentsync", "bearer.lsr_any"])
        assert by_key == (403, "foreign_origin"), "any key would be as good as none"
        assert await refusal(server, "/echo", name="evil.example") == (421, "unknown_host")
        await echoes(server, name="studio.example")


async def test_sockets_have_as_many_places_as_the_setting_says_and_one_caller_half(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, require_key=True, live_sockets=3)
    keys = KeyFile(settings.keys_path)
    many, other, third = (bearer(keys.add(name, Scope.SPEAK)) for name in ("many", "other", "third"))
    async with running(settings) as started:
        server = with_echo(started)
        async with open_socket(server, "/echo", additional_headers=many):
            assert await refusal(server, "/echo", additional_headers=many) == (503, "busy")
            async with (
                open_socket(server, "/echo", additional_headers=other),
                open_socket(server, "/echo", additional_headers=third),
            ):
                assert server.orchestrator.sockets.taken == 3
        while server.orchestrator.sockets.taken:
            await asyncio.sleep(0.01)
        await echoes(server, additional_headers=many)


async def test_sockets_count_among_the_requests_of_a_minute(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, requests_per_minute=2)) as started:
        server = with_echo(started)
        await echoes(server)
        await echoes(server)
        assert await refusal(server, "/echo") == (429, "too_many_requests")


async def test_message_beyond_the_limit_ends_its_socket_and_no_other(server: RunningServer) -> None:
    secret = bearer(key(server, Scope.SPEAK))
    async with open_socket(server, "/echo", additional_headers=secret) as other:
        async with open_socket(server, "/echo", additional_headers=secret) as socket:
            with contextlib.suppress(ConnectionClosed):  # it may be closed while the message is still on its way
                await socket.send("x" * 5_000_000)
            await socket.wait_closed()
            assert socket.close_code == 1009
        await other.send("still here")
        assert await other.recv() == "still here"


async def test_client_that_asks_for_pongs_and_reads_none_loses_its_socket(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_watch, "_CHECK_S", 1000.0)  # which would end it too, with gigabytes of pongs by then
    settings = server.orchestrator.settings
    reader, writer = await asyncio.open_connection(settings.http_host, settings.http_port, limit=1024)
    writer.write(
        f"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key(server, Scope.SPEAK)}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 101 ")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    ping = bytes([0x89, 0x80 | 125, 0, 0, 0, 0]) + bytes(125)
    with pytest.raises(ConnectionError):
        for _ in range(1000):
            writer.write(ping * 1000)
            await writer.drain()
    writer.close()
    while server.orchestrator.sockets.taken:
        await asyncio.sleep(0.01)


async def test_nothing_but_requests_and_sockets_is_served(server: RunningServer) -> None:
    app: Any = server.server.config.app

    async def unused(*_: object) -> Any:
        raise AssertionError("nobody may be asked or told")

    with pytest.raises(RuntimeError, match="'lifespan'"):
        await app({"type": "lifespan"}, unused, unused)
