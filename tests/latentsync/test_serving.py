"""A batch in which each request fails alone."""

import gc
import weakref

import pytest
import torch

from latentsync.serving import run_batch


def refuse(tensor: torch.Tensor) -> torch.Tensor:
    raise ValueError("no")


def fail(tensor: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(("check", "forward"), [(refuse, fail), (lambda tensor: tensor, fail)])
def test_inputs_of_failed_requests_are_let_go_at_once(check, forward):
    # They lie in shared memory, which is full long before Python's garbage collector has a reason to look.
    gc.disable()
    try:
        inputs = [torch.zeros(1, 4)]
        watched = weakref.ref(inputs[0])
        outcomes = run_batch(inputs, check, forward)
        del inputs
        assert isinstance(outcomes[0], ValueError | RuntimeError)
        del outcomes
        assert watched() is None
    finally:
        gc.enable()
