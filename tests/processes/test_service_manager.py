"""What reaches the socket of a service manager."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes.service_manager import ServiceManager


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.settimeout(5)
        yield found


def test_each_message_is_one_datagram(listener: socket.socket) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": "30000000"})
    assert manager.watchdog_s == 30
    manager.ready()
    manager.alive()
    manager.stopping()
    assert [listener.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")  # Linux chooses a free abstract name
        listener.settimeout(5)
        name = listener.getsockname().decode()
        ServiceManager({"NOTIFY_SOCKET": "@" + name[1:]}).ready()
        assert listener.recv(100) == b"READY=1"


def test_without_a_service_manager_nothing_happens() -> None:
    manager = ServiceManager({})
    assert manager.watchdog_s is None
    manager.alive()


def test_the_watchdog_of_another_process_is_not_ours(listener: socket.socket) -> None:
    assert ServiceManager({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_s is None


def test_a_service_manager_that_is_gone_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
    assert "can't be told" in caplog.text
