"""Whether Triton can generate speech now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from inference.capacity import Capacity
from inference.client import TritonClient
from inference.errors import InferenceError, InferenceFailed
from inference.watched_server import SPEECH_MODELS, WatchedServer
from latentsync.avatar import AvatarSettings
from orchestrator.observability.metrics import Metrics

_POLL_S = 1.0
_RESOLVE_EVERY = 10
_NOT_READY = "not ready: start it, or wait for its models"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartHealth:
    """One part of the server for /health/ready."""

    ready: bool
    message: str


class TritonReadiness:
    """Probes each Triton and the processes of its models once a second, and reloads models that are dead or hang.

    Of several Tritons one healthy one is enough: requests that fail at another are sent to it. A Triton whose
    checkpoints don't fit the avatar is not ready.
    """

    def __init__(
        self,
        client: TritonClient,
        url: str,
        avatar: AvatarSettings,
        metrics: Metrics,
        on_capacity: Callable[[Capacity], None],
    ) -> None:
        self._client = client
        self._url = url
        self._avatar = avatar
        self._metrics = metrics
        self._on_capacity = on_capacity
        self._ready = anyio.Event()
        self._polls = 0
        self._latent_size = 0
        self._servers: dict[str, WatchedServer] = {}
        self._problems: dict[str, str] = {}
        self._reported: tuple[bool, frozenset[str]] | None = None
        self._unhealthy: set[tuple[str, str]] = set()
        self._reloading: set[asyncio.Task[bool]] = set()
        for model in SPEECH_MODELS:  # present from the start, so that the first failure is an increase
            metrics.model_failures.labels(model)
            for loaded in ("true", "false"):
                metrics.model_reloads.labels(model, loaded)
        client.watch_reloads(lambda model, loaded: metrics.model_reloads.labels(model, str(loaded).lower()).inc())
        self.health = PartHealth(False, f"not probed yet: {url}")

    async def watch(self) -> None:
        """Probe again and again, until cancelled."""
        while True:
            self._publish(await self._poll())
            await anyio.sleep(_POLL_S)

    async def wait(self) -> None:
        """Return once Triton is ready."""
        await self._ready.wait()

    async def _poll(self) -> PartHealth:
        # The addresses are resolved again at intervals: servers are added and removed behind the same name.
        self._polls += 1
        resolves = not self.health.ready or any(self._problems.values()) or self._polls % _RESOLVE_EVERY == 0
        try:
            if resolves:
                self._servers = await self._client.each_server()
            answers = await asyncio.gather(*(server.is_ready() for server in self._servers.values()))
            up = [address for address, answer in zip(self._servers, answers, strict=True) if answer]
            misfit = await self._misfit() if up and resolves else ""
        except InferenceError as error:
            misfit = error.message
        if misfit:
            self._problems = dict.fromkeys(self._servers, misfit)
            return PartHealth(False, misfit)
        self._problems = {address: f"Triton at {address} is {_NOT_READY}" for address in self._servers}
        self._problems |= await self._probe_models(up)
        return self._verdict()

    async def _misfit(self) -> str:
        """Why no served checkpoint fits the avatar, else ""; passes on how many chunks Triton takes at once."""
        models, avatar = await self._client.face_models(), self._avatar
        main = next(iter(models))
        self._latent_size = models[main].latent_size
        faces = models.get(avatar.checkpoint or main)
        if faces is None:
            return (
                f"Triton at {self._url} draws with {', '.join(models)} and the avatar was prepared for "
                f"{avatar.checkpoint}: export that too, or add the avatar again"
            )
        if faces.resolution != avatar.resolution:
            return (
                f"Triton at {self._url} makes faces of {faces.resolution} pixels and the avatar has "
                f"{avatar.resolution}: add the avatar again with the served checkpoint"
            )
        self._on_capacity(await self._client.capacity())
        return ""

    def _verdict(self) -> PartHealth:
        unhealthy = [problem for problem in self._problems.values() if problem]
        if not self._servers:
            return PartHealth(False, f"Triton at {self._url} has no address: check the name")
        if not unhealthy:
            return PartHealth(True, f"Triton at {self._url} is ready")
        healthy = len(self._servers) - len(unhealthy)
        count = (
            f"{healthy} of {len(self._servers)} at {self._url} can take a speech; " if len(self._servers) > 1 else ""
        )
        return PartHealth(healthy > 0, count + "; ".join(unhealthy))

    async def _probe_models(self, up: list[str]) -> dict[str, str]:
        """What is wrong with the models of each of these servers, else ""; starts to reload models that are dead."""
        probes = await asyncio.gather(*(self._servers[address].probe_models(self._latent_size) for address in up))
        results = dict(zip(up, probes, strict=True))
        for model in SPEECH_MODELS if up else ():
            self._metrics.model_up.labels(model).set(all(each.get(model) is None for each in results.values()))
        for address, each in results.items():
            for model, error in each.items():
                self._repair(address, model, error)
        where = {address: f"{address}: " if len(self._servers) > 1 else "" for address in up}
        return {
            address: "; ".join(f"{where[address]}{error.message}" for error in each.values() if error is not None)
            for address, each in results.items()
        }

    def _repair(self, address: str, model: str, error: InferenceError | None) -> None:
        if error is None:
            self._unhealthy.discard((address, model))
            return
        if (address, model) not in self._unhealthy:
            self._unhealthy.add((address, model))
            self._metrics.model_failures.labels(model).inc()
            logger.error("%s: %s", address, error.message)
        if not isinstance(error, InferenceFailed):
            return  # Triton itself can't be reached, or is loading the model
        # Not awaited, because other models may fail while a large one loads. Concurrent reloads of a model are one.
        reloading = asyncio.create_task(self._servers[address].reload(model), name=f"reload-{model}")
        self._reloading.add(reloading)
        reloading.add_done_callback(self._reloading.discard)

    def _publish(self, health: PartHealth) -> None:
        unhealthy = frozenset(address for address, problem in self._problems.items() if problem)
        if self._reported != (health.ready, unhealthy):
            logger.log(logging.WARNING if unhealthy or not health.ready else logging.INFO, "%s", health.message)
        self._reported = health.ready, unhealthy
        self.health = health
        self._metrics.triton_up.set(health.ready)
        self._metrics.tell_servers({address: address not in unhealthy for address in self._servers})
        if health.ready:
            self._ready.set()
        elif self._ready.is_set():
            self._ready = anyio.Event()
