"""The watchdog: a service manager is told that all is well only while the channels' frames go out."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.channels.definition import ChannelDefinition
from orchestrator.channels.on_air import OnAirWatch
from orchestrator.channels.view import ChannelState, ChannelView
from processes.service_manager import ServiceManager
from tests.support.running_server import running, settings_in
from tests.support.statuses import status

pytestmark = pytest.mark.timeout(90)


class Told(ServiceManager):
    """Counts what it is told."""

    def __init__(self) -> None:
        super().__init__({})
        self.alive_count = 0

    def alive(self) -> None:
        self.alive_count += 1


def view(name: str, state: ChannelState = ChannelState.RUNNING, frames: int | None = 0, **changes: Any) -> ChannelView:
    definition = ChannelDefinition(channel=name, avatar="grey", targets=()).as_json()
    found = ChannelView(
        name, definition, state, None, (), 0, 0, None, None if frames is None else status(frames_sent=frames)
    )
    return replace(found, **changes)


class Stage:
    """A watch over views that the test sets, on a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.views: list[ChannelView] = []
        self.manager = Told()
        self.watch = OnAirWatch(lambda: self.views, self.manager, lambda: self.now)

    def told_after(self, seconds: float, *views: ChannelView) -> bool:
        """Whether the service manager is told that all is well so much later, when the channels look like this."""
        self.now += seconds
        self.views = list(views)
        before = self.manager.alive_count
        self.watch.look()
        return self.manager.alive_count > before


def test_told_while_every_channels_frames_go_out() -> None:
    stage = Stage()
    assert all(stage.told_after(1, view("a", frames=n * 25), view("b", frames=n * 25)) for n in range(20))


def test_not_told_while_one_running_channel_sends_no_frames_and_told_again_when_it_does() -> None:
    stage = Stage()
    told = [stage.told_after(1, view("a", frames=n), view("b", frames=7)) for n in range(10)]
    assert told == [True] * 6 + [False] * 4
    assert stage.watch.stalled == ("channel b: no frame went out for 9 s",)
    assert stage.told_after(1, view("a", frames=11), view("b", frames=8))


def test_a_running_channel_that_says_nothing_at_all_is_stalled_too() -> None:
    stage = Stage()
    assert stage.told_after(1, view("a", frames=None))
    assert not stage.told_after(6, view("a", frames=None))


def test_a_channel_that_is_started_again_and_again_is_no_reason_to_restart_the_server() -> None:
    stage = Stage()
    down = ChannelState.RESTARTING
    assert all(stage.told_after(50, view("a", down, None, restarts=n)) for n in range(100))
    assert not stage.told_after(121, view("a", down, None, restarts=99)), "but nobody tries it any more"


def test_a_stopped_server_has_no_channels_that_should_run() -> None:
    stage = Stage()
    assert all(stage.told_after(100, view("a", ChannelState.CLOSED, None)) for _ in range(3))


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", found.getsockname())
        monkeypatch.setenv("WATCHDOG_USEC", "60000000")
        yield found


def heard(listener: socket.socket) -> list[bytes]:
    messages = []
    while True:
        try:
            messages.append(listener.recv(100))
        except BlockingIOError:
            return messages


async def test_service_manager_hears_nothing_while_a_channels_process_stands_still_and_again_when_it_is_replaced(
    tmp_path: Path, listener: socket.socket
) -> None:
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        assert b"READY=1" in heard(listener)
        channel = server.orchestrator.channels["main"]
        while not channel.view.status:
            await asyncio.sleep(0.05)
        os.kill(channel.pid or 0, signal.SIGSTOP)
        while (await server.http.get("/health/live")).status_code == 200:
            await asyncio.sleep(0.05)
        heard(listener)
        while True:
            told = heard(listener)
            if (await server.http.get("/health/live")).status_code != 503:
                break
            assert told == []
            await asyncio.sleep(0.05)
        while b"WATCHDOG=1" not in heard(listener):
            await asyncio.sleep(0.05)
        assert channel.view.restarts == 1
    assert b"STOPPING=1" in heard(listener)
