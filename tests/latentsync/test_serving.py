"""A batch of requests in which each fails alone."""

import gc
import os
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentsync.engine import Engine
from latentsync.serving.batches import run_batch
from latentsync.serving.instance import ModelInstance

CPU = torch.device("cpu")


def test_batch_that_finds_no_memory_is_run_in_halves_and_only_what_still_does_not_fit_fails() -> None:
    sizes = []

    def forward(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        if len(batch) > 2 or bool((batch == 5).any()):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch * 10

    outcomes = run_batch([torch.full((1,), float(value)) for value in range(6)], CPU, lambda tensor: tensor, forward)
    assert [None if isinstance(each, Exception) else each.tolist() for each in outcomes] == [
        [0.0],
        [10.0],
        [20.0],
        [30.0],
        [40.0],
        None,
    ]
    assert isinstance(outcomes[5], torch.OutOfMemoryError)
    assert sizes == [6, 3, 1, 2, 3, 1, 2, 1, 1]


def test_other_errors_fail_the_whole_batch_at_once() -> None:
    calls = []

    def forward(batch: Tensor) -> Tensor:
        calls.append(len(batch))
        raise RuntimeError("no kernel for this")

    outcomes = run_batch([torch.zeros(1), torch.zeros(1)], CPU, lambda tensor: tensor, forward)
    assert [type(each) for each in outcomes] == [RuntimeError, RuntimeError] and calls == [2]


def test_batch_of_tensors_from_several_gpus_is_run_on_the_instances_own() -> None:
    # Any two devices will do; an ensemble hands on tensors that lie where they were made.
    here = torch.device("meta")
    batches = []

    def forward(batch: Tensor) -> Tensor:
        batches.append(batch)
        return batch

    outcomes = run_batch([torch.zeros(1, 4), torch.zeros(2, 4, device=here)], here, lambda tensor: tensor, forward)
    assert [(batch.device, len(batch)) for batch in batches] == [(here, 3)]
    assert [len(each) for each in outcomes if isinstance(each, Tensor)] == [1, 2]


def refuse(tensor: torch.Tensor) -> torch.Tensor:
    raise ValueError("no")


def fail(tensor: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(("check", "forward"), [(refuse, fail), (lambda tensor: tensor, fail)])
def test_inputs_of_failed_requests_are_let_go_at_once(
    check: Callable[[Tensor], Tensor], forward: Callable[[Tensor], Tensor]
) -> None:
    # They lie in shared memory, which is full long before Python's garbage collector has a reason to look.
    gc.disable()
    try:
        inputs = [torch.zeros(1, 4)]
        watched = weakref.ref(inputs[0])
        outcomes = run_batch(inputs, CPU, check, forward)
        del inputs
        assert isinstance(outcomes[0], ValueError | RuntimeError)
        del outcomes
        assert watched() is None
    finally:
        gc.enable()


def test_fused_engine_takes_kernels_from_the_export_while_it_warms_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", "/somewhere/else")
    (tmp_path / "kernels" / "key").mkdir(parents=True)
    (tmp_path / "kernels" / "key" / "compiled").write_text("here")
    eager = ModelInstance("unet", tmp_path, torch.device("cpu"), torch.float32, 1, graphs_dir=tmp_path)
    with replace(eager, engine=Engine.FUSED).exported_kernels():
        assert (Path(os.environ["TRITON_CACHE_DIR"]) / "key" / "compiled").read_text() == "here"
    assert os.environ["TRITON_CACHE_DIR"] == "/somewhere/else"
    with eager.exported_kernels():
        assert os.environ["TRITON_CACHE_DIR"] == "/somewhere/else"
