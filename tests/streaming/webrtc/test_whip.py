"""A channel's target by WHIP: what the server gets, when it refuses or goes, and the goodbye."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from streaming.config import ChannelConfig
from streaming.events import PublisherState
from streaming.push_command import shows_secret
from streaming.targets import check_target, mask
from streaming.whip_push import WhipPush, whip_config
from tests.support.packet_source import PacketSource
from tests.support.running_server import free_port
from tests.support.whip_server import whip_server

TOKEN = "token-of-the-stream"


def config(folder: Path, **changes: object) -> ChannelConfig:
    values = {"id": "main", "avatar_dir": "x", "preview_socket": "y", "packet_socket": str(folder / "packets.sock")}
    return ChannelConfig(**{**values, **changes})  # type: ignore[arg-type]


@asynccontextmanager
async def pushing(folder: Path, port: int, token: str = TOKEN) -> AsyncIterator[WhipPush]:
    push = WhipPush(f"whip://{token}@127.0.0.1:{port}/whip/avatar", config(folder))
    try:
        yield push
    finally:
        await asyncio.to_thread(push.close)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def test_server_gets_the_stream_and_a_goodbye(tmp_path: Path) -> None:
    with PacketSource(tmp_path / "packets.sock"):
        async with whip_server(TOKEN) as server:
            async with pushing(tmp_path, server.port) as push:
                await until(lambda: push.status.state is PublisherState.ON_AIR)
                (stream,) = server.streams
                numbers = await stream.pictures(20)
                await until(lambda: stream.beeps > 1)
                assert all(later - one == 1 for one, later in pairwise(numbers))
                assert push.status.problem == ""
            assert server.goodbyes == 1


async def test_server_that_refuses_is_told_without_the_token(tmp_path: Path) -> None:
    with PacketSource(tmp_path / "packets.sock"):
        async with whip_server(TOKEN) as server, pushing(tmp_path, server.port, token="wrong-token") as push:
            await until(lambda: server.refused > 1)
            await until(lambda: push.status.problem != "")
            assert push.status.problem == "the server answered 401 Unauthorized"
            assert push.status.state is PublisherState.RECONNECTING
            assert "wrong-token" not in push.status.target


async def test_answer_without_an_end_is_refused(tmp_path: Path) -> None:
    with PacketSource(tmp_path / "packets.sock"):
        async with whip_server(TOKEN) as server:
            server.answers_endlessly = True
            async with pushing(tmp_path, server.port) as push:
                await until(lambda: push.status.problem != "")
                assert push.status.problem == "the server answered with more than 64000 bytes"


async def test_server_that_comes_later_and_comes_back_gets_the_stream(tmp_path: Path) -> None:
    port = free_port()
    with PacketSource(tmp_path / "packets.sock"):
        async with pushing(tmp_path, port) as push:
            await until(lambda: "doesn't answer" in push.status.problem)
            async with whip_server(TOKEN, port) as server:
                await until(lambda: push.status.state is PublisherState.ON_AIR)
                await server.streams[0].pictures(3)
            await until(lambda: push.status.state is PublisherState.RECONNECTING)
            async with whip_server(TOKEN, port) as server:
                await until(lambda: push.status.reconnects == 1)
                await server.streams[0].pictures(3)


def test_token_is_the_user_of_the_address_and_on_no_command_line(tmp_path: Path) -> None:
    target = f"whips://{TOKEN}@live.example.com:8443/whip/avatar?room=1"
    made = whip_config(target, config(tmp_path, tls_ca_file="/ca.pem"))
    assert made["url"] == "https://live.example.com:8443/whip/avatar?room=1"
    assert (made["token"], made["verify"]) == (TOKEN, "/ca.pem")
    assert whip_config(target, config(tmp_path, tls_unverified_hosts=("*.example.com",)))["verify"] is False
    assert mask(target) == "whips://live.example.com:8443/whip/***"
    assert not shows_secret(target, "ffmpeg")


@pytest.mark.parametrize("target", ["whip://host", "whip://host/", "whips://host/#x", "whip:///path"])
def test_addresses_without_an_endpoint_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match="target"):
        check_target(target)
