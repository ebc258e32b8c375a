"""A server that is too busy to see a speech before it is over: changes are told by their latest state."""

from collections.abc import Awaitable, Callable

import pytest

from orchestrator.http.live_speech import LiveSpeech
from orchestrator.tasks.task import Task

Changed = Callable[[Task], Awaitable[None]]


def see_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever follows a live speech from now on is called with its final state, and with none before it."""
    follow = LiveSpeech.follow

    async def late(self: LiveSpeech, changed: Changed) -> Task | None:
        async def last(task: Task) -> None:
            if task.state.final:
                await changed(task)

        return await follow(self, last)

    monkeypatch.setattr(LiveSpeech, "follow", late)
