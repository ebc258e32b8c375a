"""So many clients at once, each of which sends its next request when the last is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Send = Callable[[int], Awaitable[object]]
"""Sends request number n and returns when it is answered."""


@dataclass(frozen=True)
class Answers:
    """Of one measured window of so many `seconds`: `per_s` of all clients together, and each answer's time in ms."""

    count: int
    per_s: float
    latencies_ms: tuple[float, ...]
    seconds: float

    def percentile_ms(self, percent: float) -> float | None:
        """A percentile of the answers' times; None when no request was answered within the window."""
        if not self.latencies_ms:
            return None
        return round(float(np.percentile(self.latencies_ms, percent)), 2)


async def closed_loop(
    send: Send,
    clients: int,
    warm_up_s: float,
    seconds: float,
    begin: Callable[[], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
) -> Answers:
    """Runs the clients, and counts what is answered between `begin` and `end`, awaited as the window opens and closes.

    The warm-up lasts until every client has had an answer, and `warm_up_s` at least. The window lasts `seconds`, and
    until every client has had two answers in it: one alone has no rate. Raises what `send` raises.
    """
    loads = [_Client(send, number, clients) for number in range(clients)]
    tasks = [asyncio.create_task(load.run()) for load in loads]
    try:
        answered = [load.warm.wait() for load in loads]
        await _unless_failed(asyncio.gather(*answered, asyncio.sleep(warm_up_s)), tasks)
        await begin()
        opened = time.monotonic()
        rated = [load.answered_again() for load in loads]
        await _unless_failed(asyncio.gather(*rated, asyncio.sleep(seconds)), tasks)
        closed = time.monotonic()
        await end()
        for load in loads:
            load.stopped = True
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    inside = [[(at, took) for at, took in load.answers if opened <= at <= closed] for load in loads]
    return Answers(
        count=sum(map(len, inside)),
        per_s=sum(_rate([at for at, _ in answers], closed - opened) for answers in inside),
        latencies_ms=tuple(1000 * took for answers in inside for _, took in answers),
        seconds=closed - opened,
    )


async def _unless_failed(waiting: asyncio.Future[Any], tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    failed = next((task for task in tasks if task.done()), None)
    if failed is not None:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        failed.result()
    await waiting


def _rate(answered_at: list[float], window_s: float) -> float:
    """Answers a second of one client, from its first to its last: a window holds no whole number of them."""
    if len(answered_at) < 2:
        return len(answered_at) / window_s
    return (len(answered_at) - 1) / (answered_at[-1] - answered_at[0])


class _Client:
    def __init__(self, send: Send, number: int, step: int) -> None:
        self._send = send
        self._next = number
        self._step = step
        self.warm = asyncio.Event()
        self.stopped = False
        self._answered = asyncio.Event()
        self.answers: list[tuple[float, float]] = []

    async def run(self) -> None:
        while not self.stopped:
            began = time.monotonic()
            await self._send(self._next)
            now = time.monotonic()
            self.answers.append((now, now - began))
            self._next += self._step
            self.warm.set()
            self._answered.set()

    async def answered_again(self) -> None:
        """Returns with the second answer from now on."""
        for _ in range(2):
            self._answered.clear()
            await self._answered.wait()
