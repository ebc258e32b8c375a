"""The UNet and the VAE's decoder as an engine runs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from latentsync.contract import CONTRACT
from latentsync.denoising import PlainPredictor, Predictor, ReusingPredictor
from latentsync.engine import Engine, EngineError
from latentsync.graphs import Run, load_graphs
from latentsync.unet import LatentSyncUNet
from latentsync.upsampling import merge_upsampling
from latentsync.vae import FaceDecoder, Vae, VaeType

UNET_GRAPHS, DECODER_GRAPHS, KERNELS = "unet", "vae_decoder", "kernels"

Decode = Callable[[Tensor], Tensor]


def configure_libraries(device: torch.device, engine: Engine) -> None:
    """Configures how cuDNN and cuBLAS choose kernels in this process; call it before either is used."""
    if device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = True  # every shape is run, and so tuned, before a model is ready
    if engine is Engine.FUSED:
        # Without a workspace cuBLAS chooses kernels that need none, which saves the launch that clears it before each.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":0:0")


def unet_batches(max_batch: int) -> list[int]:
    """Batch sizes, in chunks, of a UNet whose batches have up to `max_batch` requests; guidance doubles them."""
    plain = range(1, max_batch + 1)
    return sorted({*plain, *(2 * count for count in plain)})


def decoder_batches(max_batch: int) -> list[int]:
    """Batch sizes, in frames, of a VAE decoder whose batches have up to `max_batch` of the longest chunks."""
    return [CONTRACT.chunk_frames * count for count in range(1, max_batch + 1)]


def run_unet(
    unet: LatentSyncUNet, engine: Engine, graphs_dir: Path | None, batches: Sequence[int], reuse: int = 1
) -> Predictor:
    """The UNet as a predictor on an engine; changes the UNet's memory layout.

    `graphs_dir` holds the export's compiled graphs; `reuse` is that of `denoise`.
    Raises EngineError for an engine that can't run here, can't reuse deep features, or lacks its graphs.
    """
    device = unet.blocks.conv_in.weight.device
    if engine is Engine.FUSED:
        _require_gpu(device)
        from latentsync.fused.graphed import GraphedUNet
        from latentsync.fused.unet import FusedUNet

        return GraphedUNet(FusedUNet(unet), reuses=reuse > 1)
    if engine is Engine.EAGER or graphs_dir is None:
        if device.type == "cpu":
            # takes 3 to 13 % less time at the demo's size
            unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return ReusingPredictor(unet) if reuse > 1 else PlainPredictor(unet)
    if reuse > 1:
        raise EngineError(f"engine {engine.value} can't reuse deep features: export with fused or eager, or --reuse 1")
    graphs = load_graphs(unet, engine, graphs_dir / UNET_GRAPHS, batches, device)
    return PlainPredictor(_CompiledForLongest(graphs, unet))


def run_decoder(vae: Vae, engine: Engine, graphs_dir: Path | None, batches: Sequence[int]) -> Decode:
    """The decoder on an engine, as a function from latents [N, 4, h, w] to pixels [N, 3, 8h, 8w].

    May replace layers of the VAE. Raises EngineError as `run_unet` does.
    """
    plain, device = FaceDecoder(vae), next(vae.parameters()).device
    if engine is Engine.FUSED:
        _require_gpu(device)
        from latentsync.fused.decoder import FusedDecoder
        from latentsync.fused.graphed import GraphedDecoder

        return GraphedDecoder(FusedDecoder(vae).forward if vae.kind is VaeType.KL else plain, CONTRACT.chunk_lengths)
    if engine is Engine.EAGER or graphs_dir is None:
        if device.type == "cpu":
            merge_upsampling(vae.autoencoder.decoder)
        return plain
    return load_graphs(plain, engine, graphs_dir / DECODER_GRAPHS, batches, device)


@dataclass(frozen=True)
class _CompiledForLongest:
    """Compiled graphs for the longest chunks, and the network as it is for shorter ones.

    Each length would take as many graphs to compile again, and these engines are for comparing. Who needs short chunks
    fast on a GPU takes the fused engine, which captures graphs of all lengths.
    """

    graphs: Run
    plain: Run

    def __call__(self, sample: Tensor, times: Tensor, audio: Tensor) -> Tensor:
        run = self.graphs if sample.shape[2] == CONTRACT.chunk_frames else self.plain
        return run(sample, times, audio)


def as_function(predictor: Predictor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A predictor with the signature of `LatentSyncUNet.forward`, for a timestep that all chunks share."""

    def predict(sample: Tensor, times: Tensor, audio: Tensor) -> Tensor:
        condition = sample[:, CONTRACT.latent_channels :].transpose(1, 2)
        return predictor.begin(condition, audio)(sample[:, : CONTRACT.latent_channels], int(times.reshape(-1)[0]), True)

    return predict


def _require_gpu(device: torch.device) -> None:
    if device.type != "cuda":
        raise EngineError("the fused engine runs on NVIDIA GPUs only: export with --engine eager")
