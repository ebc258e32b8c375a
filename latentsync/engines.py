"""The UNet and the VAE's decoder as an engine runs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from latentsync.contract import CONTRACT
from latentsync.denoising import PlainPredictor, Predictor, ReusingPredictor
from latentsync.engine import Engine, EngineError
from latentsync.graphs import load_graphs
from latentsync.unet import LatentSyncUNet
from latentsync.upsampling import merge_upsampling
from latentsync.vae import FaceDecoder, Vae, VaeType

CHUNK_FRAMES = CONTRACT.chunk_frames
UNET_GRAPHS, DECODER_GRAPHS, KERNELS = "unet", "vae_decoder", "kernels"

Decode = Callable[[Tensor], Tensor]


def configure_libraries(device: torch.device, engine: Engine) -> None:
    """How cuDNN and cuBLAS choose their kernels in this process; to be called before either is used."""
    if device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = True  # each batch size meets its shapes before a model is ready
    if engine is Engine.FUSED:
        # cuBLAS without memory of its own takes kernels that have none to be cleared, by a launch before each.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":0:0")


def unet_batches(max_batch: int) -> list[int]:
    """Batches in chunks that a UNet sees when up to `max_batch` requests are joined; guidance doubles them."""
    plain = range(1, max_batch + 1)
    return sorted({*plain, *(2 * count for count in plain)})


def decoder_batches(max_batch: int) -> list[int]:
    """Batches in frames that a VAE decoder sees when up to `max_batch` chunks are joined."""
    return [CONTRACT.chunk_frames * count for count in range(1, max_batch + 1)]


def run_unet(
    unet: LatentSyncUNet, engine: Engine, graphs_dir: Path | None, batches: Sequence[int], reuse: int = 1
) -> Predictor:
    """The UNet, which may be rearranged, as a predictor.

    `graphs_dir` holds what an export compiled, `reuse` is `denoise`'s.
    Raises EngineError for an engine that can't run here, can't reuse deep features, or misses its graphs.
    """
    device = unet.blocks.conv_in.weight.device
    if engine is Engine.FUSED:
        _require_gpu(device)
        from latentsync.fused.graphed import GraphedUNet
        from latentsync.fused.unet import FusedUNet

        return GraphedUNet(FusedUNet(unet), reuses=reuse > 1)
    if engine is Engine.EAGER or graphs_dir is None:
        if device.type == "cpu":
            # 3 to 13 % less time at the demo's size
            unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return ReusingPredictor(unet) if reuse > 1 else PlainPredictor(unet)
    if reuse > 1:
        raise EngineError(f"engine {engine.value} can't reuse deep features: export with fused or eager, or --reuse 1")
    return PlainPredictor(load_graphs(unet, engine, graphs_dir / UNET_GRAPHS, batches, device))


def run_decoder(vae: Vae, engine: Engine, graphs_dir: Path | None, batches: Sequence[int]) -> Decode:
    """The decoder, which may be rearranged, as a function from latents [N, 4, h, w] to pixels [N, 3, 8h, 8w].

    Raises EngineError.
    """
    plain, device = FaceDecoder(vae), next(vae.parameters()).device
    if engine is Engine.FUSED:
        _require_gpu(device)
        from latentsync.fused.decoder import FusedDecoder
        from latentsync.fused.graphed import GraphedDecoder

        return GraphedDecoder(FusedDecoder(vae).forward if vae.kind is VaeType.KL else plain, CONTRACT.chunk_frames)
    if engine is Engine.EAGER or graphs_dir is None:
        if device.type == "cpu":
            merge_upsampling(vae.autoencoder.decoder)
        return plain
    return load_graphs(plain, engine, graphs_dir / DECODER_GRAPHS, batches, device)


def as_function(predictor: Predictor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A predictor as the function that `LatentSyncUNet.forward` is, for a timestep that all chunks share."""

    def predict(sample: Tensor, times: Tensor, audio: Tensor) -> Tensor:
        condition = sample[:, CONTRACT.latent_channels :].transpose(1, 2)
        return predictor.begin(condition, audio)(sample[:, : CONTRACT.latent_channels], int(times.reshape(-1)[0]), True)

    return predict


def _require_gpu(device: torch.device) -> None:
    if device.type != "cuda":
        raise EngineError("the fused engine runs on NVIDIA GPUs only: export with --engine eager")
