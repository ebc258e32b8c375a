"""Task boards on a disk, and tasks for them."""

from pathlib import Path

import numpy as np

from orchestrator.observability.notices import Broadcast
from orchestrator.tasks.board import TaskBoard
from orchestrator.tasks.speech_files import SpeechFiles
from orchestrator.tasks.store import TaskStore
from orchestrator.tasks.task import Task

SPEECH = np.arange(-800, 800, dtype=np.int16)


def board_in(folder: Path, queue_limit: int = 10, history: int = 10) -> TaskBoard:
    store = TaskStore(folder / "tasks.sqlite3")
    return TaskBoard(store, SpeechFiles(folder), Broadcast().send, lambda: 1000.0, queue_limit, history)


def task(task_id: str) -> Task:
    return Task(id=task_id, channel="main", steps=2, guidance=1.0, seed=1, duration_s=0.1, created_at=999.0)
