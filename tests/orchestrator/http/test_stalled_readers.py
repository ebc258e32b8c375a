"""Clients that stop reading lose their connection, and with it their place; clients that read slowly keep both."""

import asyncio
import socket
from pathlib import Path

import pytest

from orchestrator.http import read_watch
from orchestrator.tasks.task import Task
from tests.support.running_server import RunningServer, running, settings_in

CHECK_S = 0.5

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_watch, "_CHECK_S", CHECK_S)


def asking(server: RunningServer, path: str) -> socket.socket:
    """A connection with a small receive buffer that has asked for `path` and read nothing yet."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((server.orchestrator.settings.http_host, server.orchestrator.settings.http_port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return client


def tell_of_much(server: RunningServer) -> None:
    """Some megabytes of changes, all of one task."""
    name = "x" * 100_000
    for step in range(60):
        server.orchestrator.notices.send(Task("t", "main", 1, 1.0, 0, 1.0, 0.0, frames_played=step, file_name=name))


async def test_listener_that_stops_reading_loses_its_place(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, event_listeners=1)) as server:
        with asking(server, "/v1/events"):
            while not server.orchestrator.listeners.taken:
                await asyncio.sleep(0.01)
            while server.orchestrator.listeners.taken:
                tell_of_much(server)
                await asyncio.sleep(0.01)
        async with server.http.stream("GET", "/v1/events") as events:
            assert await anext(events.aiter_lines()) == "event: channel"


async def test_viewer_that_stops_reading_loses_its_place(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, preview_viewers=1, video_bitrate_kbps=50_000)) as server:
        await server.ready()
        channel = server.orchestrator.channels["main"]
        while not (channel.view.status and channel.view.status.preview_codecs):
            await asyncio.sleep(0.05)
        with asking(server, "/v1/channels/main/preview.mp4"):
            while not channel.viewers:
                await asyncio.sleep(0.01)
            while channel.viewers:
                await asyncio.sleep(0.01)


async def test_listener_that_reads_slowly_hears_everything(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server:
        with asking(server, "/v1/events") as client:
            client.setblocking(False)
            while not server.orchestrator.listeners.taken:
                await asyncio.sleep(0.01)
            tell_of_much(server)
            loop = asyncio.get_running_loop()
            began, received = loop.time(), b""
            while loop.time() < began + 6 * CHECK_S or len(received) <= 100_000:
                tell_of_much(server)
                received += await loop.sock_recv(client, 2000)
                await asyncio.sleep(CHECK_S / 50)
            assert server.orchestrator.listeners.taken == 1
