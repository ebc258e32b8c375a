"""What an export compiles of the fused engine; a stand-in for the network, as a GPU would be needed for it."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from export.compiled import NetworkCompiler
from latentsync import engines
from latentsync.checkpoint import Checkpoint
from latentsync.denoising import PredictStep
from latentsync.engine import Engine

DEMO = Path(__file__).resolve().parents[2] / "checkpoints" / "demo"


class Predictor:
    def __init__(self) -> None:
        self.ran: list[tuple[int, int, str | None]] = []

    def begin(self, condition: Tensor, audio: Tensor) -> PredictStep:
        def predict(latents: Tensor, timestep: int, fresh: bool) -> Tensor:
            self.ran.append((*condition.shape[:2], os.environ.get("TRITON_CACHE_DIR")))
            return latents

        return predict


def test_kernels_of_each_batch_of_each_length_are_compiled_into_the_export_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    predictor = Predictor()
    monkeypatch.setattr(engines, "run_unet", lambda *arguments: predictor)
    served = NetworkCompiler(Checkpoint.open(DEMO), tmp_path, Engine.FUSED, 3, torch.device("cpu"), reuse=1)
    with served.exported_kernels():
        for _ in range(2):
            served.unet(None)  # type: ignore[arg-type]
    kernels = str(tmp_path / "kernels")
    assert predictor.ran == [(batch, frames, kernels) for frames in (16, 8, 4) for batch in (6, 4, 3, 2, 1)]
    assert "TRITON_CACHE_DIR" not in os.environ
