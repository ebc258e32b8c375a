"""A loss and its gradients as one CUDA graph: a small network's step is otherwise mostly launches of kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_WARM_UPS = 4


class GraphedLoss:
    """Replays what `loss_of` does with inputs of these shapes, and leaves the gradients in `network`.

    `loss_of` may neither draw at random nor read anything back from the device. Whoever changes a parameter does so in
    place, as optimisers do.
    """

    def __init__(self, network: nn.Module, loss_of: Callable[..., Tensor], examples: tuple[Tensor, ...]) -> None:
        self._inputs = [example.clone() for example in examples]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        # Libraries choose and allocate in their first calls, which a graph can't hold.
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                network.zero_grad()
                loss_of(*self._inputs).backward()  # type: ignore[no-untyped-call]
        torch.cuda.current_stream().wait_stream(side)
        network.zero_grad()  # so that the graph writes the gradients instead of adding to them
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._loss = loss_of(*self._inputs)
            self._loss.backward()  # type: ignore[no-untyped-call]

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The loss of these inputs, which the next call overwrites."""
        for own, new in zip(self._inputs, inputs, strict=True):
            own.copy_(new)
        self._graph.replay()
        return self._loss.detach()
