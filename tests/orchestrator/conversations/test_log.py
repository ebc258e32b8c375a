"""What is said is kept in files for so many days, and neither a full disk nor an odd file loses more than it must."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conversation.turn.actions import TellTranscript
from orchestrator.conversations.log import ConversationLog

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
TODAY = "2026-03-04.jsonl"


def log_in(folder: Path, is_on: bool = True) -> ConversationLog:
    return ConversationLog(folder, 30, NOW.timestamp, is_on)


def say(log: ConversationLog, text: str) -> None:
    log.note("main", TellTranscript(1, text, final=True))


def said(folder: Path) -> list[str]:
    lines = (folder / TODAY).read_text().splitlines()
    return [json.loads(line)["text"] for line in lines if line.endswith("}")]


async def until_written(folder: Path, count: int) -> None:
    async with asyncio.timeout(60):
        while not (folder / TODAY).exists() or len(said(folder)) < count:
            await asyncio.sleep(0.01)


async def test_what_could_not_be_written_is_written_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "conversations"
    folder.write_text("a file where the folder should be")
    log = log_in(folder)
    say(log, "one")
    await log.flush()
    assert "1 messages can't be written now" in caplog.text
    say(log, "two")
    folder.unlink()
    await log.flush()
    await log.flush()
    assert said(folder) == ["one", "two"]


async def test_of_many_that_wait_the_oldest_are_lost(tmp_path: Path) -> None:
    folder = tmp_path / "conversations"
    folder.touch()
    log = log_in(folder)
    for number in range(1500):
        say(log, str(number))
        if number % 400 == 0:
            await log.flush()
    folder.unlink()
    await log.flush()
    assert said(folder) == [str(number) for number in range(500, 1500)]


async def test_a_line_that_was_cut_off_costs_itself_alone(tmp_path: Path) -> None:
    (tmp_path / TODAY).write_text('{"text": "one"}\n{"text": "tw')
    log = log_in(tmp_path)
    say(log, "three")
    await log.flush()
    assert said(tmp_path) == ["one", "three"]


async def test_old_files_are_deleted_also_where_nothing_is_written_any_more(tmp_path: Path) -> None:
    last, kept, old = ((NOW - timedelta(days=days)).date().isoformat() for days in (1, 30, 31))
    for day in (last, kept, old):
        (tmp_path / f"{day}.jsonl").touch()
    log = log_in(tmp_path, is_on=False)
    say(log, "one")
    running = asyncio.create_task(log.run())
    async with asyncio.timeout(60):
        while (tmp_path / f"{old}.jsonl").exists():
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await log.flush()
    assert sorted(path.stem for path in tmp_path.glob("*.jsonl")) == [kept, last]


async def test_what_can_not_be_deleted_holds_up_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "2000-01-01.jsonl").mkdir()
    for day in ("2000-01-02", "2026-03-03"):
        (tmp_path / f"{day}.jsonl").touch()
    log = log_in(tmp_path)
    say(log, "one")
    running = asyncio.create_task(log.run())
    await until_written(tmp_path, 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert "2000-01-01.jsonl is too old, and can't be deleted" in caplog.text
    assert not (tmp_path / "2000-01-02.jsonl").exists()
