"""Task boards on a disk, and tasks for them."""

from pathlib import Path

import numpy as np

from orchestrator.observability.notices import Broadcast
from orchestrator.tasks.board import TaskBoard
from orchestrator.tasks.speech_files import SpeechFiles
from orchestrator.tasks.store import TaskStore
from orchestrator.tasks.task import Task
from speech.log import LogEnd, SoundFrames, SpeechLog

# Three frames, which are told apart from silence and from each other.
SPEECH = SoundFrames(
    np.arange(-960, 960, dtype=np.int16).reshape(3, 640), np.arange(-2880, 2880, dtype=np.int16).reshape(3, 1920)
)


def board_in(folder: Path, queue_limit: int = 10, history: int = 10) -> TaskBoard:
    store = TaskStore(folder / "tasks.sqlite3")
    return TaskBoard(store, SpeechFiles(folder), Broadcast().send, lambda: 1000.0, queue_limit, history)


def task(task_id: str) -> Task:
    return Task(id=task_id, channel="main", steps=2, guidance=1.0, seed=1, duration_s=None, created_at=999.0)


async def assert_whole(log: SpeechLog) -> None:
    """The log holds `SPEECH`, and its end."""
    assert log.end == LogEnd()
    read = await log.read(0, 99)
    np.testing.assert_array_equal(read.heard, SPEECH.heard)
    np.testing.assert_array_equal(read.sound, SPEECH.sound)
