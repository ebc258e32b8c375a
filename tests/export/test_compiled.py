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
        self.ran: list[tuple[int, str | None]] = []

    def begin(self, condition: Tensor, audio: Tensor) -> PredictStep:
        def predict(latents: Tensor, timestep: int, fresh: bool) -> Tensor:
            self.ran.append((len(condition), os.environ.get("TRITON_CACHE_DIR")))
            return latents

        return predict


def test_kernels_of_each_batch_are_compiled_into_the_export_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    predictor = Predictor()
    monkeypatch.setattr(engines, "run_unet", lambda *arguments: predictor)
    served = NetworkCompiler(Checkpoint.open(DEMO), tmp_path, Engine.FUSED, 3, torch.device("cpu"), reuse=1)
    with served.exported_kernels():
        for _ in range(2):
            served.unet(None)  # type: ignore[arg-type]
    assert predictor.ran == [(batch, str(tmp_path / "kernels")) for batch in (1, 2, 3, 4, 6)]
    assert "TRITON_CACHE_DIR" not in os.environ
