"""Speeches that were accepted, and of which more still arrives after the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Arrivals:
    """Owns what brings them into their logs, until `aclose`."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def add(self, receiving: Coroutine[Any, Any, None], name: str) -> None:
        """Run it; it tells the board itself when all of its speech has come."""
        running = asyncio.create_task(receiving, name=name)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def drain(self) -> None:
        """Return once all of them have arrived."""
        while self._running:
            await asyncio.wait(self._running)

    async def aclose(self) -> None:
        """End all of them; after the next start their tasks are said as far as they came."""
        for running in self._running:
            running.cancel()
        await self.drain()
