"""Whether Triton can take a speech now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from orchestrator.inference.client import TritonClient
from orchestrator.inference.errors import InferenceError
from orchestrator.metrics import Metrics

_POLL_S = 1.0
_COUNT_EVERY = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartHealth:
    """One part of the server for /health/ready."""

    ready: bool
    message: str


class TritonReadiness:
    """Asks Triton once a second, and how much it does at once; refuses one whose checkpoint doesn't fit the avatar."""

    def __init__(
        self,
        client: TritonClient,
        url: str,
        resolution: int,
        metrics: Metrics,
        on_parallel_chunks: Callable[[int], None],
    ) -> None:
        self._client = client
        self._url = url
        self._resolution = resolution
        self._metrics = metrics
        self._on_parallel_chunks = on_parallel_chunks
        self._ready = anyio.Event()
        self._asked = 0
        self.health = PartHealth(False, f"not asked yet: {url}")

    async def watch(self) -> None:
        """Keep asking, until cancelled."""
        while True:
            self._note(await self._ask())
            await anyio.sleep(_POLL_S)

    async def wait(self) -> None:
        """Return once Triton is ready."""
        await self._ready.wait()

    async def _ask(self) -> PartHealth:
        try:
            if not await self._client.is_ready():
                return PartHealth(False, f"Triton at {self._url} is not ready: start it, or wait for its models")
            # Again now and then: servers are added and taken away behind the same name.
            self._asked += 1
            if not self.health.ready or self._asked % _COUNT_EVERY == 0:
                served = (await self._client.face_model()).resolution
                if served != self._resolution:
                    return PartHealth(
                        False,
                        f"Triton at {self._url} makes faces of {served} pixels and the avatar has {self._resolution}:"
                        " add the avatar again with the served checkpoint",
                    )
                self._on_parallel_chunks(await self._client.parallel_chunks())
        except InferenceError as error:
            return PartHealth(False, error.message)
        return PartHealth(True, f"Triton at {self._url} is ready")

    def _note(self, health: PartHealth) -> None:
        if health.ready != self.health.ready:
            logger.log(logging.INFO if health.ready else logging.WARNING, "%s", health.message)
        self.health = health
        self._metrics.triton_up.set(health.ready)
        if health.ready:
            self._ready.set()
        elif self._ready.is_set():
            self._ready = anyio.Event()
