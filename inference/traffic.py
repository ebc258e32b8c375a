"""What the requests in flight and their answers show about each model."""

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
    """Requests in flight, the time of the last good answer (monotonic seconds), the longest request, and whether one
    has reported that the model's process is dead."""

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
        """The traffic of one model."""
        return self._models.setdefault(model, ModelTraffic())

    def of_one_server(self) -> Traffic:
        """The view for one of several servers: which of them a request went to is unknown."""
        return _SharedTraffic(self)

    @contextmanager
    def request(self, model: str) -> Iterator[None]:
        """Account for one request for the length of the block; one that raises was not answered."""
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
    """Shows how long requests take; an answer or an error proves nothing about a single server."""

    def __init__(self, whole: Traffic) -> None:
        super().__init__()
        self._whole = whole

    def of(self, model: str) -> ModelTraffic:
        whole = self._whole.of(model)
        return ModelTraffic(in_flight=whole.in_flight, longest_s=whole.longest_s)
