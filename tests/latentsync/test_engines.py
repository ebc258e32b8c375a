"""Which engine runs what, and what is refused."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from latentsync import engines
from latentsync.contract import CONTRACT
from latentsync.denoising import SchedulerConfig, denoise
from latentsync.engine import Engine, EngineError
from latentsync.engines import as_function, configure_libraries, run_decoder, run_unet, unet_batches
from latentsync.unet import LatentSyncUNet, UNetConfig
from latentsync.vae import Vae, VaeType


@pytest.fixture(scope="module")
def unet() -> LatentSyncUNet:
    torch.manual_seed(0)
    widths, kinds = (32, 64), ("CrossAttnDownBlock2D", "DownBlock2D")
    config = UNetConfig(widths, 1, 4, 8, 384, kinds, ("UpBlock2D", "CrossAttnUpBlock2D"))
    return LatentSyncUNet(config).requires_grad_(False).eval()


def chunk() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((1, 4, 8, 8), (1, 2, 9, 8, 8), (1, 2, 50, 384))
    noise, condition, audio = (torch.randn(shape, generator=generator) for shape in shapes)
    return noise, condition, audio


def test_a_predictor_is_the_function_again(unet: LatentSyncUNet) -> None:
    sample, audio = torch.randn(1, 13, 2, 8, 8), torch.randn(1, 2, 50, 384)
    for reuse in (1, 2):
        run = as_function(run_unet(unet, Engine.EAGER, None, [1], reuse))
        torch.testing.assert_close(run(sample, torch.tensor([501]), audio), unet(sample, 501, audio))


def test_reuse_runs_the_deep_layers_in_each_nth_step_only(
    unet: LatentSyncUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep: list[int] = []
    plain = LatentSyncUNet._deep

    def counted(self: LatentSyncUNet, *rest: Any) -> Any:
        deep.append(1)
        return plain(self, *rest)

    monkeypatch.setattr(LatentSyncUNet, "_deep", counted)
    scheduler = SchedulerConfig()
    whole = denoise(run_unet(unet, Engine.EAGER, None, [1]), *chunk(), 7, 1.0, scheduler)
    assert len(deep) == 7
    deep.clear()
    reused = denoise(run_unet(unet, Engine.EAGER, None, [1], 3), *chunk(), 7, 1.0, scheduler, reuse=3)
    assert len(deep) == 3
    assert 0 < float((reused - whole).norm() / whole.norm()) < 0.5


def test_what_can_not_run_here_is_refused_by_name(unet: LatentSyncUNet, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="fused engine runs on NVIDIA GPUs only"):
        run_unet(unet, Engine.FUSED, None, [1])
    vae = Vae(VaeType.TINY, 1.0, {})
    with pytest.raises(EngineError, match="fused engine runs on NVIDIA GPUs only"):
        run_decoder(vae, Engine.FUSED, None, [16])
    with pytest.raises(EngineError, match="engine compile can't reuse deep features"):
        run_unet(unet, Engine.COMPILE, tmp_path, [1], 2)


def test_compiled_graphs_run_the_longest_chunks_and_the_network_itself_shorter_ones(
    unet: LatentSyncUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    def graphs(sample: torch.Tensor, times: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        ran.append(sample.shape[2])
        result: torch.Tensor = unet(sample, times, audio)
        return result

    monkeypatch.setattr(engines, "load_graphs", lambda *arguments: graphs)
    compiled = as_function(run_unet(unet, Engine.COMPILE, tmp_path, [1]))
    for frames in CONTRACT.chunk_lengths:
        sample, audio = torch.randn(1, 13, frames, 8, 8), torch.randn(1, frames, 50, 384)
        torch.testing.assert_close(compiled(sample, torch.tensor([501]), audio), unet(sample, 501, audio))
    assert ran == [16]


def test_guidance_doubles_the_batches() -> None:
    assert unet_batches(3) == [1, 2, 3, 4, 6]


@pytest.mark.parametrize(
    ("device", "engine", "said", "expected"),
    [
        ("cuda", Engine.FUSED, None, ":0:0"),
        ("cuda", Engine.FUSED, ":16:8", ":16:8"),
        ("cuda", Engine.EAGER, None, None),
        ("cpu", Engine.EAGER, None, None),
    ],
)
def test_only_the_fused_engine_has_cublas_do_without_memory_unless_somebody_said_otherwise(
    device: str, engine: Engine, said: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if said is not None:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", said)
    configure_libraries(torch.device(device), engine)
    assert os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None) == expected
    assert torch.backends.cudnn.benchmark is (device == "cuda")
