"""A target that is lost, wrong or refused is in the server's log: once when it goes, once when it is back."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.rtmp_server import NoRtmpServer, RtmpServer
from orchestrator.channels.target_log import TargetLog
from streaming.events import PublisherState, TargetStatus
from tests.support.running_server import running, settings_in

TARGET = "rtmp://live.example/app/***"
REFUSED = TargetStatus(TARGET, PublisherState.RECONNECTING, 0, problem="Connection refused")
CONNECTING = TargetStatus(TARGET, PublisherState.CONNECTING, 0)


def on_air(reconnects: int = 0) -> TargetStatus:
    return TargetStatus(TARGET, PublisherState.ON_AIR, reconnects)


@pytest.fixture
def lines() -> Iterator[list[logging.LogRecord]]:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign,assignment]  # append has its argument by position only
    logger = logging.getLogger("orchestrator.channels.target_log")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)


class Seconds:
    """One status a second, as a channel sends them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log = TargetLog("news", lambda: self.now)

    def pass_with(self, *statuses: TargetStatus) -> None:
        for status in statuses:
            self.log.note([status])
            self.now += 1


def test_outage_is_one_line_and_its_end_another(lines: list[logging.LogRecord]) -> None:
    Seconds().pass_with(CONNECTING, *[on_air()] * 30, *[REFUSED] * 600, *[on_air(1)] * 30)
    assert [(line.levelname, line.getMessage()) for line in lines] == [
        ("INFO", f"channel news: target {TARGET} is on the air"),
        ("WARNING", f"channel news: target {TARGET} is off the air: Connection refused"),
        ("INFO", f"channel news: target {TARGET} is on the air"),
    ]


def test_target_that_flaps_for_hours_is_one_outage(lines: list[logging.LogRecord]) -> None:
    seconds = Seconds()
    seconds.pass_with(on_air())
    for count in range(2000):
        seconds.pass_with(REFUSED, on_air(count), on_air(count))
    assert [line.levelname for line in lines] == ["INFO", "WARNING"]
    seconds.pass_with(*[on_air(2000)] * 30)
    assert [line.levelname for line in lines] == ["INFO", "WARNING", "INFO"]


def test_loss_between_two_statuses_is_noticed(lines: list[logging.LogRecord]) -> None:
    Seconds().pass_with(on_air(), on_air(1))
    assert [line.levelname for line in lines] == ["INFO", "WARNING"]
    assert "the connection was lost" in lines[1].getMessage()


def test_targets_that_differ_in_their_keys_are_told_apart(lines: list[logging.LogRecord]) -> None:
    log = TargetLog("news", lambda: 0.0)
    for _ in range(3):
        log.note([on_air(), REFUSED])
    assert [line.levelname for line in lines] == ["INFO", "WARNING"]


async def test_running_server_logs_a_lost_target_and_shows_it(tmp_path: Path, lines: list[logging.LogRecord]) -> None:
    try:
        rtmp = RtmpServer(tmp_path / "nginx")
    except NoRtmpServer as error:
        pytest.skip(str(error))
    async with running(settings_in(tmp_path, rtmp_url=rtmp.url("s3cret"))) as server:
        while not any("is on the air" in line.getMessage() for line in lines):
            await asyncio.sleep(0.05)
        rtmp.stop()
        while not any("is off the air" in line.getMessage() for line in lines):
            await asyncio.sleep(0.05)
        health = (await server.http.get("/health/ready")).json()["parts"]["channel main"]
        assert health["ready"] and "1 of 1 targets off the air: rtmp://127.0.0.1" in health["message"]
        assert "s3cret" not in health["message"]
        await asyncio.sleep(3)
    said = [line.getMessage() for line in lines]
    assert len(said) == 2 and not any("s3cret" in line for line in said)
