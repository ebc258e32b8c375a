"""Whether the channels' frames go out: what the service manager's watchdog and Kubernetes' liveness are tied to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import anyio

from orchestrator.channels.view import ChannelState, ChannelView
from processes.service_manager import ServiceManager

STALLED_S = 5.0
"""A running channel without a new frame for so long is stalled; its status comes each second."""
_RESTARTING_S = 120.0
"""Longer than the longest pause between two attempts to start a channel's process, and the attempt itself."""
_LOOK_S = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Progress:
    """What changes while a channel does its work, and since when it is as it is."""

    state: ChannelState
    frames_sent: int
    restarts: int
    since: float


class OnAirWatch:
    """Looks each second whether every channel does its work, and tells the service manager while that is so.

    A running channel must send frames. One whose process is started again (a damaged avatar, no memory) must only be
    tried again in time: a restart of the server wouldn't help it, and would take the other channels off the air.
    """

    def __init__(
        self, views: Callable[[], Iterable[ChannelView]], manager: ServiceManager, clock: Callable[[], float]
    ) -> None:
        self._views = views
        self._manager = manager
        self._clock = clock
        self._seen: dict[str, _Progress] = {}
        self._told: tuple[str, ...] = ()

    @property
    def stalled(self) -> tuple[str, ...]:
        """What is wrong now, a sentence for each channel; empty when nothing is."""
        now = self._clock()
        return tuple(problem for name, seen in self._seen.items() if (problem := _problem(name, seen, now)))

    def look(self) -> None:
        """Note how far each channel is, and tell the service manager if no channel is stalled."""
        now = self._clock()
        before, self._seen = self._seen, {}
        for view in self._views():
            self._seen[view.id] = _progress(view, before.get(view.id), now)
        stalled = self.stalled
        if not stalled:
            self._manager.alive()
        names = tuple(problem.split(":")[0] for problem in stalled)
        if stalled and names != self._told:
            logger.error("the watchdog is not told that all channels run: %s", "; ".join(stalled))
        self._told = names

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await anyio.sleep(min(_LOOK_S, (self._manager.watchdog_s or _LOOK_S) / 3))


def _progress(view: ChannelView, before: _Progress | None, now: float) -> _Progress:
    # Without a status there is no count: a channel's process says nothing in its first moment.
    frames = view.status.frames_sent if view.status else before.frames_sent if before else 0
    seen = _Progress(view.state, frames, view.restarts, before.since if before else now)
    return seen if seen == before else replace(seen, since=now)


def _problem(name: str, seen: _Progress, now: float) -> str:
    still_s = now - seen.since
    if seen.state is ChannelState.RUNNING and still_s > STALLED_S:
        return f"channel {name}: no frame went out for {still_s:.0f} s"
    if seen.state in (ChannelState.STARTING, ChannelState.RESTARTING) and still_s > _RESTARTING_S:
        return f"channel {name}: {seen.state.value} for {still_s:.0f} s without a new attempt"
    return ""
