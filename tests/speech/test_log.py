"""The log of a speech: what was appended is read, in order, by readers that wait for more, until its end."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES
from speech.log import LogEnd, LogUnreadable, SoundFrames, SpeechLog


def frames(first: int, count: int) -> SoundFrames:
    numbers = np.arange(first, first + count, dtype=np.int16)[:, None]
    return SoundFrames(
        np.tile(numbers, CONTRACT.samples_per_frame), np.tile(-numbers, SOUND_FRAME_SAMPLES).astype(np.int16)
    )


def numbers(read: SoundFrames) -> list[int]:
    assert (read.heard == read.heard[:, :1]).all() and (read.sound == -read.heard[:, :1]).all()
    return [int(number) for number in read.heard[:, 0]]


async def test_frames_are_read_from_anywhere_as_they_were_appended(tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "a")
    await log.append(frames(0, 3))
    await log.append(frames(3, 4))
    assert log.frames == 7 and log.end is None
    assert numbers(await log.read(2, 3)) == [2, 3, 4]
    assert numbers(await log.read(5, 9)) == [5, 6], "what isn't there yet is left out"
    assert len(await log.read(7, 1)) == 0
    log.close()


async def test_what_came_last_is_read_from_memory_and_the_rest_from_the_disk(tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "a")
    await log.append(frames(0, 900))
    assert numbers(await log.read(3, 2)) == [3, 4]
    for first in range(900, 2000, 50):
        await log.append(frames(first, 50))
    os.truncate(tmp_path / "a", 6000)
    assert numbers(await log.read(1250, 750)) == list(range(1250, 2000)), "the last 30 s"
    with pytest.raises(LogUnreadable):
        await log.read(400, 1)
    log.seal()
    with pytest.raises(LogUnreadable):
        await log.read(1250, 750)
    log.close()


async def test_what_had_come_when_reading_began_is_read_from_memory_too(tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "a")
    await log.append(frames(0, 12))
    reading = asyncio.create_task(log.read(0, 12))
    await log.append(frames(12, 3))  # while the first read is under way
    assert numbers(await reading) == list(range(12))
    os.truncate(tmp_path / "a", 6000)
    assert numbers(await log.read(0, 15)) == list(range(15))
    log.close()


async def test_what_comes_in_masses_while_the_first_read_is_under_way_keeps_its_numbers(tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "a")
    await log.append(frames(0, 12))
    reading = asyncio.create_task(log.read(0, 12))
    await asyncio.sleep(0)
    for first in range(12, 2012, 500):
        await log.append(frames(first, 500))
    assert numbers(await reading) == list(range(12))
    assert numbers(await log.read(5, 20)) == list(range(5, 25))
    assert numbers(await log.read(1900, 112)) == list(range(1900, 2012))
    log.close()


async def test_one_that_lags_reads_on_when_the_log_is_closed_and_its_file_gone(tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "a")
    reader = log.reader()
    await log.append(frames(0, 3))
    assert numbers(await reader.read(2)) == [0, 1]
    await log.append(frames(3, 2))
    log.break_off("cancelled")
    log.close()
    (tmp_path / "a").unlink()
    assert numbers(await reader.read(9)) == [2, 3, 4]
    assert len(await reader.read(9)) == 0, "the end"
    reader.close()
    with pytest.raises(RuntimeError, match="closed"):
        log.reader()


async def test_reader_waits_for_more_and_is_told_the_end(tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "a")
    waiting = asyncio.create_task(log.wait_beyond(0))
    await asyncio.sleep(0)
    assert not waiting.done()
    await log.append(frames(0, 2))
    assert await waiting == 2
    waiting = asyncio.create_task(log.wait_beyond(2))
    await asyncio.sleep(0)
    log.seal()
    assert await waiting == 2 and log.end == LogEnd()
    log.break_off("source_lost")
    assert log.end == LogEnd(), "the first end counts"
    with pytest.raises(RuntimeError, match="has ended"):
        await log.append(frames(2, 1))
    log.close()


async def test_file_of_a_dead_process_has_all_whole_frames(tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "a")
    await log.append(frames(0, 5))
    log.close()
    with (tmp_path / "a").open("r+b") as file:
        file.truncate((tmp_path / "a").stat().st_size - 1)
    again = SpeechLog(tmp_path / "a", LogEnd("source_lost"))
    assert again.frames == 4 and numbers(await again.read(0, 9)) == [0, 1, 2, 3]
    assert await again.wait_beyond(99) == 4, "nobody appends to it any more"
    again.close()


async def test_append_that_fails_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SpeechLog(tmp_path / "a")
    await log.append(frames(0, 1))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="no space"):
            await log.append(frames(1, 2))
    assert log.frames == 1
    await log.append(frames(1, 2))
    assert numbers(await log.read(0, 9)) == [0, 1, 2]
    log.close()


def test_frames_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="expected frames of the shapes"):
        SoundFrames(np.zeros((2, 640), np.int16), np.zeros((1, SOUND_FRAME_SAMPLES), np.int16))


async def test_file_is_closed_after_the_write_that_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, begun, released = SpeechLog(tmp_path / "a"), threading.Event(), threading.Event()
    write, file = os.pwrite, log._file

    def slow(*arguments: Any) -> int:
        begun.set()
        assert released.wait(10)
        return write(*arguments)

    monkeypatch.setattr(os, "pwrite", slow)
    appending = asyncio.create_task(log.append(frames(0, 1)))
    await asyncio.to_thread(begun.wait)
    appending.cancel()
    await asyncio.gather(appending, return_exceptions=True)
    log.close()
    os.fstat(file)  # else another file could get the descriptor, and the thread would write into that one
    released.set()
    while True:
        try:
            os.fstat(file)
        except OSError:
            break
        await asyncio.sleep(0.01)
    assert (tmp_path / "a").stat().st_size == 5120
    with pytest.raises(RuntimeError, match="closed"):
        await log.read(0, 1)


async def test_owner_is_told_of_the_first_frames_and_of_the_end(tmp_path: Path) -> None:
    told: list[int] = []
    log = SpeechLog(tmp_path / "a", changed=lambda: told.append(log.frames))
    for first in (0, 2):
        await log.append(frames(first, 2))
    log.seal()
    log.seal()
    assert told == [2, 4]
    log.close()


async def test_file_that_lost_frames_is_unreadable(tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "a")
    await log.append(frames(0, 2))
    log.seal()
    os.truncate(tmp_path / "a", 6000)
    with pytest.raises(LogUnreadable, match="ends after 6000 bytes"):
        await log.read(0, 2)
    log.close()
