"""The exported networks on their engine, compiled first if the engine needs that."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import torch

from export import parity
from latentsync import engines
from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from latentsync.denoising import Predictor
from latentsync.engine import Engine
from latentsync.graphs import Run, compile_ahead
from latentsync.unet import LatentSyncUNet
from latentsync.vae import FaceDecoder, Vae


@dataclass(frozen=True)
class NetworkCompiler:
    """Compiles each network once into `graphs_dir`, for this device and all batches up to `max_batch` chunks."""

    checkpoint: Checkpoint
    graphs_dir: Path
    engine: Engine
    max_batch: int
    device: torch.device
    reuse: int
    _kernels_exported: set[Path] = field(default_factory=set)

    def unet(self, unet: LatentSyncUNet) -> Predictor:
        """The UNet on its engine; raises EngineError."""
        batches = engines.unet_batches(self.max_batch)
        folder = self.graphs_dir / engines.UNET_GRAPHS
        if self._must_compile(folder):
            examples = [parity.unet_example(self.checkpoint, batch, self.device) for batch in batches]
            compile_ahead(unet, self.engine, folder, examples, self.device)
        predictor = engines.run_unet(unet, self.engine, self.graphs_dir, batches, self.reuse)
        if self.engine is Engine.FUSED and folder not in self._kernels_exported:
            self._kernels_exported.add(folder)
            run = engines.as_function(predictor)
            with torch.inference_mode():
                # Each has kernels of its own; the largest first, as they are warmed up where they are served.
                for frames, batch in product(reversed(CONTRACT.chunk_lengths), reversed(batches)):
                    run(*parity.unet_example(self.checkpoint, batch, self.device, frames))
        return predictor

    def exported_kernels(self) -> AbstractContextManager[None]:
        """A context for the first runs: the kernels that the fused engine compiles become part of the export."""
        if self.engine is not Engine.FUSED:
            return nullcontext()
        from latentsync.fused.kernel_cache import cache_kernels_in

        return cache_kernels_in(self.graphs_dir / engines.KERNELS)

    def decoder(self, vae: Vae) -> Run:
        """The VAE's decoder on its engine; raises EngineError."""
        batches = engines.decoder_batches(self.max_batch)
        folder = self.graphs_dir / engines.DECODER_GRAPHS
        if self._must_compile(folder):
            examples = [parity.decoder_example(self.checkpoint, batch, self.device) for batch in batches]
            compile_ahead(FaceDecoder(vae), self.engine, folder, examples, self.device)
        return engines.run_decoder(vae, self.engine, self.graphs_dir, batches)

    def _must_compile(self, folder: Path) -> bool:
        return self.engine in (Engine.COMPILE, Engine.AOT) and not folder.exists()
