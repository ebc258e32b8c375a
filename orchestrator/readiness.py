"""Whether Triton can take a speech now."""

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
from orchestrator.observability.metrics import Metrics

_POLL_S = 1.0
_COUNT_EVERY = 10
_NOT_READY = "not ready: start it, or wait for its models"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartHealth:
    """One part of the server for /health/ready."""

    ready: bool
    message: str


class TritonReadiness:
    """Asks each Triton and its models' processes once a second, and has those loaded again that are dead or hang.

    Where there are several, one that is well is enough: what fails at another is sent to it. Refuses a Triton whose
    checkpoint doesn't fit the avatar.
    """

    def __init__(
        self,
        client: TritonClient,
        url: str,
        resolution: int,
        metrics: Metrics,
        on_capacity: Callable[[Capacity], None],
    ) -> None:
        self._client = client
        self._url = url
        self._resolution = resolution
        self._metrics = metrics
        self._on_capacity = on_capacity
        self._ready = anyio.Event()
        self._asked = 0
        self._latent_size = 0
        self._servers: dict[str, WatchedServer] = {}
        self._problems: dict[str, str] = {}
        self._told: tuple[bool, frozenset[str]] | None = None
        self._ailing: set[tuple[str, str]] = set()
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
        # Again now and then: servers are added and taken away behind the same name.
        self._asked += 1
        anew = not self.health.ready or any(self._problems.values()) or self._asked % _COUNT_EVERY == 0
        try:
            if anew:
                self._servers = await self._client.each_server()
            answers = await asyncio.gather(*(server.is_ready() for server in self._servers.values()))
            up = [address for address, answer in zip(self._servers, answers, strict=True) if answer]
            misfit = await self._misfit() if up and anew else ""
        except InferenceError as error:
            misfit = error.message
        if misfit:
            self._problems = dict.fromkeys(self._servers, misfit)
            return PartHealth(False, misfit)
        self._problems = {address: f"Triton at {address} is {_NOT_READY}" for address in self._servers}
        self._problems |= await self._look_after_models(up)
        return self._verdict()

    async def _misfit(self) -> str:
        """Why what is served doesn't fit the avatar, or nothing; notes how many chunks fit at once."""
        faces = await self._client.face_model()
        self._latent_size = faces.latent_size
        if faces.resolution != self._resolution:
            return (
                f"Triton at {self._url} makes faces of {faces.resolution} pixels and the avatar has {self._resolution}:"
                " add the avatar again with the served checkpoint"
            )
        self._on_capacity(await self._client.capacity())
        return ""

    def _verdict(self) -> PartHealth:
        ailing = [problem for problem in self._problems.values() if problem]
        if not self._servers:
            return PartHealth(False, f"Triton at {self._url} has no address now: check the name")
        if not ailing:
            return PartHealth(True, f"Triton at {self._url} is ready")
        well = len(self._servers) - len(ailing)
        count = f"{well} of {len(self._servers)} at {self._url} can take a speech; " if len(self._servers) > 1 else ""
        return PartHealth(well > 0, count + "; ".join(ailing))

    async def _look_after_models(self, up: list[str]) -> dict[str, str]:
        """What is wrong with the models of each of these servers, or nothing; has those loaded again that are dead."""
        asked = await asyncio.gather(*(self._servers[address].probe_models(self._latent_size) for address in up))
        pulses = dict(zip(up, asked, strict=True))
        for model in SPEECH_MODELS if up else ():
            self._metrics.model_up.labels(model).set(all(each.get(model) is None for each in pulses.values()))
        for address, each in pulses.items():
            for model, error in each.items():
                self._mend(address, model, error)
        where = {address: f"{address}: " if len(self._servers) > 1 else "" for address in up}
        return {
            address: "; ".join(f"{where[address]}{error.message}" for error in each.values() if error is not None)
            for address, each in pulses.items()
        }

    def _mend(self, address: str, model: str, error: InferenceError | None) -> None:
        if error is None:
            self._ailing.discard((address, model))
            return
        if (address, model) not in self._ailing:
            self._ailing.add((address, model))
            self._metrics.model_failures.labels(model).inc()
            logger.error("%s: %s", address, error.message)
        if not isinstance(error, InferenceFailed):
            return  # Triton itself is away, or loads the model now
        # Not awaited: other models may fail while a large one loads. The reloader does it once for all who ask.
        mending = asyncio.create_task(self._servers[address].reload(model), name=f"mend-{model}")
        self._mending.add(mending)
        mending.add_done_callback(self._mending.discard)

    def _note(self, health: PartHealth) -> None:
        ailing = frozenset(address for address, problem in self._problems.items() if problem)
        if self._told != (health.ready, ailing):
            logger.log(logging.WARNING if ailing or not health.ready else logging.INFO, "%s", health.message)
        self._told = health.ready, ailing
        self.health = health
        self._metrics.triton_up.set(health.ready)
        self._metrics.tell_servers({address: address not in ailing for address in self._servers})
        if health.ready:
            self._ready.set()
        elif self._ready.is_set():
            self._ready = anyio.Event()
