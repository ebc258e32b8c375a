"""An upload that takes long to decode is accepted before its end; what is wrong with it later ends its task."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.tasks.board import TaskBoard
from orchestrator.tasks.decodings import Decodings
from orchestrator.tasks.task import Task, TaskState
from speech.audio import decoder
from speech.audio.decoder import DecodeLimits
from speech.audio.errors import NotAudio, SilentAudio, TooLong
from speech.log import SpeechLog
from tests.support.audio_files import children, tone, write_wav
from tests.support.boards import board_in, task
from tests.support.slow_decoder import slow_decoder

pytestmark = pytest.mark.timeout(60)

Parts = tuple[TaskBoard, Decodings, list[float]]


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = slow_decoder(tmp_path / "bin")
    monkeypatch.setattr(decoder, "ffmpeg_binary", lambda: str(program))


@asynccontextmanager
async def boards(folder: Path, max_duration_s: float = 600.0) -> AsyncIterator[Parts]:
    board, counted = board_in(folder / "tasks"), list[float]()
    await board.open()
    decodings = Decodings(board, DecodeLimits(max_duration_s=max_duration_s), counted.append)
    try:
        yield board, decodings, counted
    finally:
        await decodings.aclose()
        await board.aclose()
        assert children() == []


async def accept(decodings: Decodings, task_id: str, path: Path) -> list[str]:
    """Accepts it; the list gets an entry when the file isn't needed any more."""
    released: list[str] = []
    async with AsyncExitStack() as held:
        held.callback(released.append, "released")
        await decodings.accept(task(task_id), path, held)
    return released


async def found(board: TaskBoard, task_id: str) -> Task:
    live = await board.get(task_id)
    assert live is not None
    return live


async def arrived(board: TaskBoard, task_id: str) -> Task:
    while (live := await found(board, task_id)).duration_s is None:
        await asyncio.sleep(0.02)
    return live


async def said(board: TaskBoard) -> tuple[Task, SpeechLog]:
    """Takes the task, waits for the end of its speech, and plays it."""
    taken, log = await board.take("main")
    while log.end is None:
        await log.wait_beyond(log.frames)
    await arrived(board, taken.id)
    await board.finish(taken.id, TaskState.DONE)
    return await found(board, taken.id), log


async def test_short_upload_is_accepted_whole(tmp_path: Path) -> None:
    async with boards(tmp_path) as (board, decodings, counted):
        assert await accept(decodings, "short", write_wav(tmp_path / "a.wav", tone(2.0))) == ["released"]
        short = await found(board, "short")
        assert (short.state, short.duration_s, counted) == (TaskState.QUEUED, 2.0, [2.0])


@pytest.mark.usefixtures("slow")
async def test_long_upload_is_taken_while_it_is_decoded_and_all_of_it_is_there_at_the_end(tmp_path: Path) -> None:
    samples = np.rint(tone(6.0)).astype(np.int16)
    async with boards(tmp_path) as (board, decodings, counted):
        released = await accept(decodings, "long", write_wav(tmp_path / "a.wav", samples))
        assert ((await found(board, "long")).state, released) == (TaskState.RECEIVING, [])
        taken, log = await board.take("main")
        assert taken.duration_s is None and log.end is None and 0 < log.frames < 150
        assert (await arrived(board, "long")).duration_s == 6.0
        assert (released, counted) == (["released"], [6.0])
        np.testing.assert_array_equal((await log.read(0, 199)).heard.reshape(-1), samples)
        await board.finish("long", TaskState.DONE)
        assert (await found(board, "long")).state is TaskState.DONE


async def test_what_is_wrong_at_once_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"<html>no sound</html>" * 200)
    async with boards(tmp_path) as (board, decodings, counted):
        with pytest.raises(NotAudio):
            await accept(decodings, "refused", tmp_path / "a.wav")
        with pytest.raises(SilentAudio):
            await accept(decodings, "refused", write_wav(tmp_path / "b.wav", np.zeros(16_000)))
        assert await board.get("refused") is None and counted == []


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(
    ("seconds", "loudness", "error", "frames"), [(3.0, 0.0, SilentAudio, 75), (6.0, 1.0, TooLong, None)]
)
async def test_what_only_the_end_can_tell_is_told_by_the_task_after_what_came(
    tmp_path: Path, seconds: float, loudness: float, error: Any, frames: int | None
) -> None:
    path = write_wav(tmp_path / "a.wav", loudness * tone(seconds))
    async with boards(tmp_path, max_duration_s=4.0) as (board, decodings, _):
        await accept(decodings, "wrong", path)
        failed, log = await said(board)
        assert failed.failure is not None and failed.failure.code == error.code
        assert log.frames == frames if frames else 0 < log.frames <= 100
        assert failed.duration_s == log.frames / 25


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EIO, "speech_unwritable")], ids=["ENOSPC", "EIO"]
)
async def test_disk_that_fails_ends_the_task_after_what_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def failing(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    async with boards(tmp_path) as (board, decodings, _):
        released = await accept(decodings, "cut", write_wav(tmp_path / "a.wav", tone(4.0)))
        _, log = await board.take("main")
        came = log.frames
        with monkeypatch.context() as broken:
            broken.setattr(os, "pwrite", failing)
            while log.end is None:
                await log.wait_beyond(log.frames)
        await arrived(board, "cut")
        assert came <= log.frames < 100 and len(await log.read(0, 100)) == log.frames
        await board.finish("cut", TaskState.DONE)
        failed = await found(board, "cut")
        assert failed.state is TaskState.FAILED and failed.failure is not None
        assert failed.failure.code == code and released == ["released"]


@pytest.mark.usefixtures("slow")
async def test_cancelled_task_ends_its_decoder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with boards(tmp_path) as (board, decodings, _):
        released = await accept(decodings, "cancelled", write_wav(tmp_path / "a.wav", tone(20.0)))
        await board.finish("cancelled", TaskState.CANCELLED)
        await decodings.drain()
        assert children() == [] and released == ["released"]
        cancelled = await found(board, "cancelled")
        assert cancelled.state is TaskState.CANCELLED and cancelled.failure is None
        assert "Traceback" not in caplog.text, "its decoder expects that"


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("begun", [True, False])
async def test_stop_in_the_middle_keeps_what_came_for_the_next_start(tmp_path: Path, begun: bool) -> None:
    async with boards(tmp_path) as (board, decodings, _):
        released = await accept(decodings, "half", write_wav(tmp_path / "a.wav", tone(20.0)))
        if begun:
            await board.take("main")
    assert released == ["released"]
    async with boards(tmp_path) as (board, _, _):
        failed = (await said(board))[0] if begun else await found(board, "half")
        assert (0 < (failed.duration_s or 0) < 20) == begun
        assert failed.failure is not None and failed.failure.code == "source_lost"
