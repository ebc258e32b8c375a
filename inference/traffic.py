"""What the requests themselves say of each model."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tritonclient.utils import InferenceServerException

from inference.retry import is_dead_process


@dataclass
class ModelTraffic:
    """Requests that are out, when the last good answer came (monotonic seconds), how long the longest took, and whether
    one was told that the model's process is dead."""

    in_flight: int = 0
    answered_at: float = -math.inf
    longest_s: float = 0.0
    died: asyncio.Event = field(default_factory=asyncio.Event)


class Traffic:
    """Counts the requests of one client by model."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._models: dict[str, ModelTraffic] = {}

    def of(self, model: str) -> ModelTraffic:
        """A model's traffic until now."""
        return self._models.setdefault(model, ModelTraffic())

    def elsewhere_too(self) -> Traffic:
        """The same for one of several servers: of a request nobody knows to which of them it went."""
        return _SharedTraffic(self)

    @contextmanager
    def request(self, model: str) -> Iterator[None]:
        """One request, from its beginning to its end; one that raises was not answered."""
        seen, began = self.of(model), self._clock()
        seen.in_flight += 1
        try:
            yield
            seen.answered_at = self._clock()
            seen.longest_s = max(seen.longest_s, seen.answered_at - began)
        except InferenceServerException as error:
            if is_dead_process(error):
                seen.died.set()
            raise
        finally:
            seen.in_flight -= 1


class _SharedTraffic(Traffic):
    """Says how long a request may take; an answer or an error says nothing of a single server."""

    def __init__(self, whole: Traffic) -> None:
        super().__init__()
        self._whole = whole

    def of(self, model: str) -> ModelTraffic:
        whole = self._whole.of(model)
        return ModelTraffic(in_flight=whole.in_flight, longest_s=whole.longest_s)
