"""Requests run as one batch, in which each fails alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")


def concatenate(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """The tensors' rows as one tensor on a device; host memory goes to a GPU through page-locked memory, by DMA."""
    if device.type != "cuda" or any(tensor.is_cuda for tensor in tensors):
        return torch.cat([tensor.to(device) for tensor in tensors])
    shape = (sum(len(tensor) for tensor in tensors), *tensors[0].shape[1:])
    staged = torch.empty(shape, dtype=tensors[0].dtype, pin_memory=True)
    return torch.cat(list(tensors), out=staged).to(device, non_blocking=True)


def wait_for_gpu(result: Tensor) -> Tensor:
    """Returns a result once it is computed. The process sleeps meanwhile; Triton's own wait would keep a core busy."""
    if result.is_cuda:
        computed = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        computed.record()
        computed.synchronize()
    return result


def run_batch(
    inputs: Sequence[Tensor],
    device: torch.device,
    check: Callable[[Tensor], Tensor],
    forward: Callable[[Tensor], Tensor],
) -> list[Tensor | ValueError | RuntimeError]:
    """Runs requests' tensors as one batch on a device, and gives each request its rows of the result or its own error.

    `inputs` are [rows_i, ...] on any devices: in an ensemble each comes from the GPU that computed it. One that `check`
    refuses gets that ValueError and stays out of the batch. When `forward` fails, every request of the batch gets its
    RuntimeError; where memory ran out, halves are tried first.
    """
    outcomes: list[Tensor | ValueError | RuntimeError] = []
    accepted: list[int] = []
    for index, tensor in enumerate(inputs):
        try:
            outcomes.append(check(tensor))
            accepted.append(index)
        except ValueError as error:
            # Its traceback refers to this frame, and so to the inputs. They lie in shared memory, which would fill up
            # before the garbage collector frees such a cycle.
            outcomes.append(error.with_traceback(None))
    if not accepted:
        return outcomes

    def run(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return torch.split(wait_for_gpu(forward(concatenate(tensors, device))), [len(tensor) for tensor in tensors])

    with torch.inference_mode():
        results = run_in_halves([inputs[index] for index in accepted], run)
    for index, result in zip(accepted, results, strict=True):
        outcomes[index] = result
    return outcomes


def run_in_halves(
    items: Sequence[Item], run: Callable[[Sequence[Item]], Sequence[Result]]
) -> list[Result | RuntimeError]:
    """Runs all items together, or in halves where memory runs out; what still fails gets the RuntimeError instead."""
    try:
        return list(run(items))
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) or len(items) == 1:
            return [error.with_traceback(None)] * len(items)
    # After the except block, where the error and the tensors that its traceback refers to are freed.
    half = len(items) // 2
    return run_in_halves(items[:half], run) + run_in_halves(items[half:], run)
