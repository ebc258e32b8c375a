"""Several checkpoints in one served model: which of them answers a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import triton_python_backend_utils as pb_utils

from latentsync.contract import CHECKPOINT_PARAMETER
from latentsync.serving.responses import invalid, parameter


class Answering(Protocol):
    """A model of one checkpoint."""

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """A response for each request, in their order."""
        ...


class ByCheckpoint:
    """Models by the names of their checkpoints, the main one first.

    They share a process: one that is only started takes some 400 MB before it has any weights, and a batch can't mix
    checkpoints anyway.
    """

    def __init__(self, models: Mapping[str, Answering]) -> None:
        self._models = models
        self._main = next(iter(models))

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """A response for each request, in their order; an error for one that names a checkpoint which isn't served."""
        by_name: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            by_name.setdefault(self._named_by(request), []).append(index)
        responses: dict[int, pb_utils.InferenceResponse] = {}
        for name, indices in by_name.items():
            responses |= zip(indices, self._answer(name, [requests[index] for index in indices]), strict=True)
        return [responses[index] for index in range(len(requests))]

    def _named_by(self, request: pb_utils.InferenceRequest) -> str:
        name = parameter(request, CHECKPOINT_PARAMETER)
        return self._main if name is None else str(name)

    def _answer(self, name: str, requests: Sequence[pb_utils.InferenceRequest]) -> Sequence[pb_utils.InferenceResponse]:
        if name in self._models:
            return self._models[name].execute(requests)
        unknown = ValueError(f"the checkpoint {name!r} is not served, but {', '.join(self._models)}")
        return [invalid(unknown) for _ in requests]
