"""A channel is held while it takes a task: the task is no longer queued, and not yet given out."""

import asyncio

import pytest

from orchestrator.tasks.store import TaskStore
from orchestrator.tasks.task import Task, TaskState


def hold_taking(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Two events: that a task is being taken, and one to be set for it to be given out."""
    save, held, released = TaskStore.save, asyncio.Event(), asyncio.Event()

    async def slow(store: TaskStore, task: Task) -> None:
        await save(store, task)
        if task.state is TaskState.INFERRING:
            held.set()
            await released.wait()

    monkeypatch.setattr(TaskStore, "save", slow)
    return held, released
