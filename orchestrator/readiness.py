"""Whether Triton can take a speech now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from orchestrator.inference.client import SPEECH_MODELS, TritonClient
from orchestrator.inference.errors import InferenceError, InferenceFailed
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
    """Asks Triton and its models' processes once a second, and has those loaded again that are dead or hang.

    Refuses a Triton whose checkpoint doesn't fit the avatar.
    """

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
        self._latent_size = 0
        self._told = False
        self._ailing: set[str] = set()
        self._mending: set[asyncio.Task[bool]] = set()
        for model in SPEECH_MODELS:  # from the start, or the first failure would be no increase
            metrics.model_failures.labels(model)
            for loaded in ("true", "false"):
                metrics.model_reloads.labels(model, loaded)
        client.watch_reloads(lambda model, loaded: metrics.model_reloads.labels(model, str(loaded).lower()).inc())
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
                faces = await self._client.face_model()
                served, self._latent_size = faces.resolution, faces.latent_size
                if served != self._resolution:
                    return PartHealth(
                        False,
                        f"Triton at {self._url} makes faces of {served} pixels and the avatar has {self._resolution}:"
                        " add the avatar again with the served checkpoint",
                    )
                self._on_parallel_chunks(await self._client.parallel_chunks())
            if problem := await self._look_after_models():
                return PartHealth(False, problem)
        except InferenceError as error:
            return PartHealth(False, error.message)
        return PartHealth(True, f"Triton at {self._url} is ready")

    async def _look_after_models(self) -> str:
        """Has models loaded again whose process is dead or hangs; what is wrong, or nothing."""
        pulses = await self._client.feel_pulses(self._latent_size)
        for model, error in pulses.items():
            self._metrics.model_up.labels(model).set(error is None)
            if error is None:
                self._ailing.discard(model)
                continue
            if model not in self._ailing:
                self._ailing.add(model)
                self._metrics.model_failures.labels(model).inc()
                logger.error("%s", error.message)
            if not isinstance(error, InferenceFailed):
                continue  # Triton itself is away, or loads the model now
            # Not awaited: other models may fail while a large one loads. The reloader does it once for all who ask.
            mending = asyncio.create_task(self._client.recover(error), name=f"mend-{model}")
            self._mending.add(mending)
            mending.add_done_callback(self._mending.discard)
        return "; ".join(error.message for error in pulses.values() if error is not None)

    def _note(self, health: PartHealth) -> None:
        if health.ready != self.health.ready or not self._told:
            logger.log(logging.INFO if health.ready else logging.WARNING, "%s", health.message)
        self._told = True
        self.health = health
        self._metrics.triton_up.set(health.ready)
        if health.ready:
            self._ready.set()
        elif self._ready.is_set():
            self._ready = anyio.Event()
