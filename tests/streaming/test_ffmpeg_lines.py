"""What of ffmpeg's words reaches a channel's log."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from latentsync.avatar import PreparedAvatar
from streaming.events import PublisherState
from streaming.ffmpeg_lines import FfmpegLines
from tests.support.watched import is_state, running

LATE = "[flv @ 0x55d1] [warning] Packet 17 is late"


def test_warning_is_logged_once_and_an_error_each_time() -> None:
    lines = FfmpegLines()
    assert [lines.level(line) for line in (LATE, LATE.replace("17", "99").replace("55d1", "7aa0"))] == [
        logging.WARNING,
        logging.DEBUG,
    ]
    assert [lines.level("[mpegts] [error] broken") for _ in range(3)] == [logging.WARNING] * 3
    assert lines.level("[info] frame") == logging.DEBUG


def test_memory_for_warnings_is_bounded() -> None:
    lines = FfmpegLines()
    words = (f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(600))
    assert sum(lines.level(f"[warning] {word}") == logging.WARNING for word in words) == 64


async def test_a_healthy_channel_logs_no_warning(avatar: PreparedAvatar, tmp_path: Path) -> None:
    async with running(avatar, tmp_path, targets=(str(tmp_path / "x.flv"),)) as watched:
        await watched.until(is_state(PublisherState.ON_AIR))
        await asyncio.sleep(2)
    assert " WARNING " not in (tmp_path / "c.log").read_text()
