"""A function of fixed shapes as a CUDA graph: a replay launches all its kernels at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_WARM_UPS = 3


class Captured:
    """A captured function: fill its `inputs`, `replay` it, and read its `output`.

    Graphs that never run at the same time can share a memory `pool` (torch.cuda.graph_pool_handle()); a replay then
    overwrites the others' outputs.
    """

    def __init__(self, run: Callable[..., Tensor], inputs: Sequence[Tensor], pool: Any = None) -> None:
        self.inputs = list(inputs)
        current = torch.cuda.current_stream()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):  # compiles, tunes and allocates, which a capture must not do
                run(*self.inputs)
        current.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self.output = run(*self.inputs)

    def replay(self) -> None:
        """Runs on the current content of `inputs`."""
        self._graph.replay()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Runs on other tensors of the same shapes, and returns a copy of the result."""
        for held, given in zip(self.inputs, inputs, strict=True):
            held.copy_(given)
        self.replay()
        return self.output.clone()
