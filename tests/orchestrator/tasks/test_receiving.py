"""A task whose speech still arrives: taken with its first frame, and over when its source says so or is lost."""

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.tasks.board import MAX_ATTEMPTS, QueueFull, TaskBoard
from orchestrator.tasks.task import Failure, Stage, Task, TaskState
from speech.log import LogEnd
from tests.support.boards import SPEECH, assert_whole, board_in, task
from tests.support.checkout import ROOT

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.support.boards import SPEECH, board_in, task

async def main():
    board = board_in(Path(sys.argv[1]))
    await board.open()
    playing = await board.begin(task("playing"))
    await playing.append(SPEECH)
    await board.take("main")
    await board.submit(task("whole"), [SPEECH])
    lost = await board.begin(task("lost"))
    await lost.append(SPEECH)
    lost.break_off("too_fast")
    await board.received("lost", "Too fast.")
    arriving = await board.begin(task("arriving"))
    await arriving.append(SPEECH)
    with (Path(sys.argv[1]) / "arriving.speech").open("ab") as file:
        file.write(bytes(7))  # a frame that was half written
    await board.begin(task("nothing"))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def state(board: TaskBoard, task_id: str) -> Task:
    found = await board.get(task_id)
    assert found is not None
    return found


def descriptors(folder: Path) -> list[str]:
    """The speeches that this process has open."""
    links = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(each.readlink()))
        except FileNotFoundError:
            continue
    return [link for link in links if link.startswith(str(folder)) and ".speech" in link]


async def test_task_is_taken_with_its_first_frame_and_its_length_is_known_at_its_end(tmp_path: Path) -> None:
    board = board_in(tmp_path)
    await board.open()
    log = await board.begin(task("live"))
    shown = (await state(board, "live")).as_json()
    assert (shown["state"], shown["duration_s"], shown["progress"], shown["frames"]["total"]) == (
        TaskState.RECEIVING,
        None,
        None,
        None,
    )
    taking = asyncio.create_task(board.take("main"))
    await asyncio.sleep(0.05)
    assert not taking.done(), "there is nothing to say yet"
    await log.append(SPEECH)
    taken, same = await taking
    assert (taken.state, taken.duration_s, same) == (TaskState.INFERRING, None, log)
    board.progress("live", frames_generated=3, frames_played=2)
    assert (await state(board, "live")).frames_played == 2, "there is no total yet that it could exceed"
    log.seal()
    await board.received("live")
    known = await state(board, "live")
    assert (known.state, known.duration_s) == (TaskState.INFERRING, 3 / 25)
    await assert_whole(log)
    await board.finish("live", TaskState.DONE)
    assert (await state(board, "live")).as_json()["progress"] == 1.0
    await board.aclose()


async def test_task_that_has_a_frame_goes_before_an_older_one_that_has_none(tmp_path: Path) -> None:
    board = board_in(tmp_path)
    await board.open()
    await board.begin(task("silent"))
    await board.submit(task("whole"), [SPEECH])
    taken, log = await board.take("main")
    assert taken.id == "whole"
    await assert_whole(log)
    assert board.queued("main") == ["silent"]
    await board.aclose()


async def test_speech_that_waits_with_its_end_known_is_queued_and_its_file_closed(tmp_path: Path) -> None:
    board = board_in(tmp_path)
    await board.open()
    log = await board.begin(task("live"))
    await log.append(SPEECH)
    assert len(descriptors(tmp_path)) == 1
    log.seal()
    await board.received("live")
    await board.received("live")
    waiting = await state(board, "live")
    assert (waiting.state, waiting.duration_s) == (TaskState.QUEUED, 3 / 25)
    assert Stage.DECODED.value in waiting.stamps
    assert descriptors(tmp_path) == []
    _, log = await board.take("main")
    await assert_whole(log)
    await board.aclose()


async def test_task_counts_as_waiting_while_it_is_received(tmp_path: Path) -> None:
    board = board_in(tmp_path, queue_limit=1)
    await board.open()
    await board.begin(task("live"))
    with pytest.raises(QueueFull):
        await board.begin(task("too many"))
    assert (board.waiting("main"), board.queued("main"), board.taken("main")) == (1, ["live"], [])
    await board.aclose()


async def test_speech_that_breaks_off_is_played_as_far_as_it_came_and_fails_then(tmp_path: Path) -> None:
    board = board_in(tmp_path)
    await board.open()
    log = await board.begin(task("live"))
    await log.append(SPEECH)
    log.break_off("source_lost")
    await board.received("live")
    waiting = (await state(board, "live")).as_json()
    assert (waiting["state"], waiting["error"], waiting["duration_s"]) == (TaskState.QUEUED, None, 0.12)
    _, log = await board.take("main")
    assert (log.frames, log.end) == (3, LogEnd("source_lost"))
    await board.finish("live", TaskState.DONE)
    failed = await state(board, "live")
    assert failed.state is TaskState.FAILED
    assert failed.failure is not None and failed.failure.code == "source_lost"
    await board.aclose()


async def test_speech_that_ends_before_its_source_has_told_fails_all_the_same(tmp_path: Path) -> None:
    board = board_in(tmp_path)
    await board.open()
    log = await board.begin(task("live"))
    await log.append(SPEECH)
    await board.take("main")
    log.break_off("source_lost")
    await board.finish("live", TaskState.DONE)
    await board.received("live")
    failed = await state(board, "live")
    assert failed.failure is not None and failed.failure.code == "source_lost"
    await board.aclose()


@pytest.mark.parametrize(("reason", "code"), [("source_lost", "source_lost"), (None, "empty_audio")])
async def test_speech_without_a_frame_fails_at_once(tmp_path: Path, reason: str | None, code: str) -> None:
    board = board_in(tmp_path)
    await board.open()
    log = await board.begin(task("live"))
    log.seal() if reason is None else log.break_off(reason)
    await board.received("live")
    failed = await state(board, "live")
    assert failed.state is TaskState.FAILED and failed.failure is not None and failed.failure.code == code
    assert descriptors(tmp_path) == [] and list(tmp_path.glob("*.speech")) == []
    await board.aclose()


async def test_source_of_a_cancelled_task_finds_the_end_in_its_log(tmp_path: Path) -> None:
    board = board_in(tmp_path)
    await board.open()
    log = await board.begin(task("live"))
    await log.append(SPEECH)
    appending = asyncio.create_task(log.append(SPEECH))
    await asyncio.sleep(0)
    await board.finish("live", TaskState.CANCELLED)
    await appending  # what was under way when it was cancelled
    assert log.end == LogEnd("cancelled")
    with pytest.raises(RuntimeError, match="has ended"):
        await log.append(SPEECH)
    await board.received("live")
    assert (await state(board, "live")).state is TaskState.CANCELLED
    assert descriptors(tmp_path) == [] and list(tmp_path.glob("*.speech")) == []
    await board.aclose()


async def test_interrupted_task_is_receiving_again_and_taken_from_its_beginning(tmp_path: Path) -> None:
    board = board_in(tmp_path)
    await board.open()
    log = await board.begin(task("live"))
    await log.append(SPEECH)
    for attempt in range(1, MAX_ATTEMPTS):
        taken, again = await board.take("main")
        assert (taken.attempts, again) == (attempt, log)
        await board.requeue("live", "its channel stopped")
        assert (await state(board, "live")).state is TaskState.RECEIVING
    await log.append(SPEECH)
    log.seal()
    await board.received("live")
    _, log = await board.take("main")
    assert log.frames == 6
    await board.aclose()


async def test_killed_server_says_what_came_and_tells_that_the_source_was_lost(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(tmp_path), cwd=ROOT, stderr=subprocess.DEVNULL
    )
    assert await process.wait() == -9
    for _ in range(2):  # and when the next server is killed as well
        board = board_in(tmp_path)
        await board.open()
        nothing = await state(board, "nothing")
        assert nothing.state is TaskState.FAILED and nothing.failure is not None
        assert nothing.failure.code == "source_lost"
        await board.aclose()
    board = board_in(tmp_path)
    await board.open()
    ends = {}
    codes = {"playing": "source_lost", "whole": None, "lost": "too_fast", "arriving": "source_lost"}
    for task_id, code in codes.items():
        taken, log = await board.take("main")
        assert (taken.id, taken.duration_s, log.frames, log.end) == (task_id, 3 / 25, 3, LogEnd(code))
        await board.finish(task_id, TaskState.DONE)
        ends[task_id] = await state(board, task_id)
    assert ends["whole"].state is TaskState.DONE and ends["lost"].failure == Failure("too_fast", "Too fast.")
    assert ends["playing"].failure == ends["arriving"].failure == nothing.failure
    assert descriptors(tmp_path) == [] and list(tmp_path.glob("*.speech")) == []
    await board.aclose()


async def test_closed_board_cuts_its_sources_off_and_leaves_no_file_open(tmp_path: Path) -> None:
    board = board_in(tmp_path)
    await board.open()
    log = await board.begin(task("live"))
    await log.append(SPEECH)
    await board.submit(task("taken"), [SPEECH])
    for _ in range(2):
        await board.take("main")
    await board.aclose()
    assert log.end == LogEnd("source_lost") and descriptors(tmp_path) == []


async def test_refused_speech_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = board_in(tmp_path)
    await board.open()

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="no space"):
            await board.submit(task("refused"), [SPEECH])
    assert descriptors(tmp_path) == [] and list(tmp_path.glob("*.speech")) == []
    assert await board.get("refused") is None and not board.full("main")
    await board.aclose()
