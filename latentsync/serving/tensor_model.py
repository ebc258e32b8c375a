"""A served model of one input and one output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
import triton_python_backend_utils as pb_utils
from torch import Tensor

from latentsync.serving.batches import run_batch
from latentsync.serving.instance import ModelInstance
from latentsync.serving.responses import failed, input_tensor, invalid, success


def whole(request: pb_utils.InferenceRequest, output: Tensor) -> Tensor:
    """All of a request's output."""
    return output


@dataclass(frozen=True)
class TensorModel:
    """Runs requests' tensors through `forward` in one batch; `check` gets a tensor's name and refuses by ValueError.

    `wanted` gives the part of its output that a request asks for, and refuses by ValueError too.
    """

    instance: ModelInstance
    input_name: str
    output_name: str
    check: Callable[[str, Tensor], Tensor]
    forward: Callable[[Tensor], Tensor]
    wanted: Callable[[pb_utils.InferenceRequest, Tensor], Tensor] = whole

    def warm_up(self, *row_shapes: Sequence[int]) -> None:
        """Runs zeros [rows, *row_shape] of each shape: its first run is slow, and must not be a request's."""
        with torch.inference_mode(), self.instance.exported_kernels():
            for row_shape, rows in product(row_shapes, self.instance.warm_up_batches):
                self.forward(torch.zeros(rows, *row_shape, device=self.instance.device))

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """A response for each request, in their order."""
        inputs = [input_tensor(request, self.input_name) for request in requests]
        outcomes = run_batch(inputs, self.instance.device, partial(self.check, self.input_name), self.forward)
        return [self._response(request, outcome) for request, outcome in zip(requests, outcomes, strict=True)]

    def _response(
        self, request: pb_utils.InferenceRequest, outcome: Tensor | ValueError | RuntimeError
    ) -> pb_utils.InferenceResponse:
        if isinstance(outcome, ValueError):
            return invalid(outcome)
        if isinstance(outcome, RuntimeError):
            return failed(f"{self.instance.model_name} failed: {outcome}")
        try:
            return success(self.output_name, self.wanted(request, outcome))
        except ValueError as error:
            return invalid(error)
