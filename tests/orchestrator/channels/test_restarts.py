"""A channel's process that dies is started again: soon after a long life, ever later when it dies at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench.virtual_loop import in_virtual_time
from orchestrator.channels.channel import Channel
from orchestrator.channels.definition import ChannelDefinition
from orchestrator.channels.setup import ChannelSetup
from orchestrator.observability.ledger import Ledger
from orchestrator.observability.metrics import Metrics
from orchestrator.observability.notices import Broadcast
from streaming.events import ChannelDied
from streaming.handle import ChannelHandle
from tests.support.boards import board_in
from tests.support.running_server import settings_in
from tests.support.synthetic_avatar import write_avatar


class ShortLived:
    """Stands where a channel's process stands: it starts, lives for some seconds, and dies."""

    alive = False  # it takes no tasks
    pid = 1

    def __init__(self, lives_s: float) -> None:
        self._lives_s = lives_s

    async def events(self) -> AsyncIterator[ChannelDied]:
        await asyncio.sleep(self._lives_s)
        yield ChannelDied(1, "it died")

    def follow_path(self, changed: Any) -> None: ...

    def kill(self) -> None: ...

    async def aclose(self) -> None: ...


def starts(folder: Path, monkeypatch: pytest.MonkeyPatch, lives_s: list[float]) -> list[float]:
    """The pauses before each of the processes but the first, which live for so long one after the other."""
    ended: list[float] = []
    pauses: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        all_started = asyncio.Event()
        waiting = list(lives_s)

        async def start(config: Any) -> ShortLived:
            if ended:
                pauses.append(round(loop.time() - ended[-1], 3))
            if not waiting:
                all_started.set()
                return ShortLived(1e6)
            ended.append(loop.time() + waiting[0])
            return ShortLived(waiting.pop(0))

        monkeypatch.setattr(ChannelHandle, "start", start)
        settings = settings_in(folder)
        write_avatar(settings.avatars_dir)
        setup = ChannelSetup(settings, lambda avatar, fade_frames, pace, path: None)  # type: ignore[arg-type,return-value]
        definition = ChannelDefinition.parse({"channel": "main", "avatar": "demo"})
        board = board_in(settings.tasks_dir)
        metrics = Metrics()
        ledger = Ledger(metrics.registry, loop.time)
        channel = Channel(definition, setup, board, asyncio.Event().wait, Broadcast(), metrics, ledger)  # type: ignore[arg-type]
        running = asyncio.create_task(channel.run())
        await all_started.wait()
        channel.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    async def inline(function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", inline)  # threads know nothing of virtual time
    in_virtual_time(run())
    return pauses


def test_process_that_dies_at_once_is_started_ever_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert starts(tmp_path, monkeypatch, [0.1] * 9) == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_process_that_lived_for_a_while_is_started_soon_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert starts(tmp_path, monkeypatch, [0.1, 0.1, 0.1, 90, 0.1]) == [0.5, 1, 2, 0.5, 1]
