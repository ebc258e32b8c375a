"""`probe webrtc` against a real server: the steps to a picture, and the one that fails."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.access.keys import KeyFile, Scope
from orchestrator.channels.audience import Session
from orchestrator.probe import ProbeFailed
from orchestrator.speak_client import LiveServer
from orchestrator.webrtc_probe import Step, StepDone, probe_webrtc
from tests.support.command_line import cli
from tests.support.packet_source import PacketSource
from tests.support.running_server import RunningServer, running, settings_in


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    settings = settings_in(tmp_path, webrtc_ports="50300-50349", require_key=True, webrtc_listen_at=())
    KeyFile(settings.keys_path).add("first", Scope.ADMINISTER)
    async with running(settings) as started:
        started.orchestrator.audiences._packet_sockets = lambda: {"main": tmp_path / "packets.sock"}
        yield started


def address(server: RunningServer) -> LiveServer:
    settings = server.orchestrator.settings
    key = KeyFile(settings.keys_path).add("viewer", Scope.VIEW)
    return LiveServer(f"http://127.0.0.1:{settings.http_port}", "main", key)


async def test_all_steps_succeed_up_to_the_first_picture(server: RunningServer, tmp_path: Path) -> None:
    done: list[StepDone] = []
    with PacketSource(tmp_path / "packets.sock"):
        await probe_webrtc(address(server), 60, done.append)
    assert [each.step for each in done] == list(Step)
    while server.orchestrator.audiences.viewers("main"):
        await asyncio.sleep(0.05)


async def test_a_channel_that_sends_nothing_is_told(server: RunningServer) -> None:
    done: list[StepDone] = []
    with pytest.raises(ProbeFailed, match="first packet: the connection is there, and the channel sends nothing"):
        await probe_webrtc(address(server), 8, done.append)
    assert done[-1].step is Step.DTLS


async def test_a_refused_offer_is_told_with_the_servers_words(server: RunningServer) -> None:
    known = address(server)
    with pytest.raises(ProbeFailed, match="offer: the server answered 401: Send an API key"):
        await probe_webrtc(replace(known, key=None), 8, lambda done: None)
    with pytest.raises(ProbeFailed, match="offer: the server answered 404: There is no channel 'none'"):
        await probe_webrtc(replace(known, channel="none"), 8, lambda done: None)


async def test_udp_that_does_not_get_through_is_told(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = server.orchestrator.audiences.admit

    async def admit(*viewer: Any) -> Session:
        session = await real(*viewer)
        # An address that leads nowhere (RFC 5737) is all that the viewer is told.
        answer = re.sub(r"(udp \d+) \S+ (\d+ typ host)", r"\1 198.51.100.9 \2", session.answer)
        return replace(session, answer=answer)

    monkeypatch.setattr(server.orchestrator.audiences, "admit", admit)
    with pytest.raises(ProbeFailed, match=r"ice: no UDP packet got through to 198\.51\.100\.9 port"):
        await probe_webrtc(address(server), 5, lambda done: None)


async def test_command_ends_with_the_reason() -> None:
    answer = await asyncio.to_thread(cli, "probe", "webrtc", "http://127.0.0.1:9")
    assert answer.returncode == 1
    assert "http://127.0.0.1:9 doesn't answer" in answer.stderr
    assert "0.00 s  https: browsers give such a page the microphone" in answer.stdout
