"""The fused networks as CUDA graphs, one for each number and length of the chunks in a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentsync.captured import Captured
from latentsync.contract import CONTRACT
from latentsync.denoising import PredictStep
from latentsync.engine import EngineError
from latentsync.fused.unet import FusedUNet

# Steps that the host may launch ahead of the GPU: the GPU never waits for a launch, and a cancelled chunk costs little
# more than the step that runs.
_STEPS_AHEAD = 2


class GraphedUNet:
    """A denoising predictor (latentsync.denoising.Predictor); graphs are captured as batches come.

    All graphs share memory, inputs included: at LatentSync 1.0's size the keys and values of 128 frames are 319 MB.
    So capture the largest first: the others find its memory.
    """

    def __init__(self, unet: FusedUNet, reuses: bool) -> None:
        """`reuses`: whether steps may reuse the deep layers' features (DeepCache)."""
        self._unet = unet
        self._reuses = reuses
        self._graphs: dict[tuple[int, ...], _Graphs] = {}
        self._inputs: dict[tuple[int, int], list[Tensor]] = {}
        self._pool: Any = torch.cuda.graph_pool_handle()
        self._shifts: dict[int, Tensor] = {}

    def begin(self, condition: Tensor, audio: Tensor) -> PredictStep:
        """Takes condition [B, F, 9, h, w] and audio [B, F, 50, 384] for the steps that the returned function runs.

        Only the latest function may be called.
        """
        chunks, frames, _, height, width = condition.shape
        graphs = self._graphs_for(chunks, frames, height, width)
        sample, shifts, keys_values = graphs.whole.inputs[:3]
        keys_values.copy_(self._unet.keys_and_values(audio.flatten(0, 1)))
        sample[:, CONTRACT.latent_channels : CONTRACT.sample_channels].copy_(condition.flatten(0, 1))
        noisy = sample.view(chunks, frames, *sample.shape[1:])[:, :, : CONTRACT.latent_channels]
        done: list[torch.cuda.Event] = []

        def predict(latents: Tensor, timestep: int, fresh: bool) -> Tensor:
            if len(done) >= _STEPS_AHEAD:
                done[-_STEPS_AHEAD].synchronize()
            noisy.copy_(latents.transpose(1, 2))
            shifts.copy_(self._shifts_at(timestep))
            graph = graphs.whole if fresh or graphs.shallow is None else graphs.shallow
            graph.replay()
            prediction = graph.output.float().reshape(chunks, frames, CONTRACT.latent_channels, height, width)
            # A blocking event: the host sleeps at it, which delays nothing, since another step is launched already.
            done.append(torch.cuda.Event(blocking=True))  # type: ignore[no-untyped-call]
            done[-1].record()
            return prediction.transpose(1, 2)

        return predict

    def _shifts_at(self, timestep: int) -> Tensor:
        if timestep not in self._shifts:
            self._shifts[timestep] = self._unet.shifts(timestep)
        return self._shifts[timestep]

    def _graphs_for(self, chunks: int, frames: int, height: int, width: int) -> _Graphs:
        key = (chunks, frames, height, width)
        if key in self._graphs:
            return self._graphs[key]
        unet, count = self._unet, chunks * frames
        coarsest = 2 ** (unet.levels - 1)
        if height % coarsest or width % coarsest:
            raise EngineError(
                f"the fused engine needs latents whose sides are multiples of {coarsest}, not {height}×{width}: export "
                "with --engine eager"
            )
        inputs = self._inputs_for(count, height, width)

        def whole(sample: Tensor, shifts: Tensor, keys_values: Tensor, deep: Tensor | None = None) -> Tensor:
            return unet.forward(sample, shifts, keys_values, frames, deep)

        def shallow(sample: Tensor, shifts: Tensor, keys_values: Tensor, deep: Tensor) -> Tensor:
            return unet.shallow(sample, shifts, keys_values, frames, deep)

        captured = Captured(whole, inputs, self._pool)
        graphs = _Graphs(captured, Captured(shallow, inputs, self._pool) if self._reuses else None)
        torch.cuda.empty_cache()  # memory that benchmarking cuDNN's algorithms took
        self._graphs[key] = graphs
        return graphs

    def _inputs_for(self, frames: int, height: int, width: int) -> list[Tensor]:
        """Sample, shifts, keys and values (and deep features) of so many frames: the first rows of the largest yet."""
        unet, size = self._unet, (height, width)
        if size not in self._inputs or len(self._inputs[size][0]) < frames:
            sample = torch.zeros(frames, unet.input_channels, height, width, device=unet.device, dtype=unet.dtype)
            sample = sample.contiguous(memory_format=torch.channels_last)
            keys_values = unet.keys_and_values(torch.zeros(frames, *CONTRACT.audio_shape, device=unet.device))
            self._inputs[size] = [sample, self._shifts_at(1).clone(), keys_values]
            if self._reuses:
                self._inputs[size].append(unet.deep_rows(frames, height, width))
        sample, shifts, *rows = self._inputs[size]
        most = len(sample)
        return [sample[:frames], shifts, *(each[: len(each) // most * frames] for each in rows)]


@dataclass(frozen=True)
class _Graphs:
    """Of one batch: the whole UNet, and the UNet without its deep layers, on the same inputs."""

    whole: Captured
    shallow: Captured | None


class GraphedDecoder:
    """A decoder for any number of chunks, by a graph for each of a few numbers of frames.

    The largest fills the GPU, so graphs of more frames would gain nothing. Frames don't know of each other, so that a
    graph may hold several short chunks.
    """

    def __init__(self, decode: Callable[[Tensor], Tensor], sizes: Sequence[int]) -> None:
        self._decode = decode
        self._sizes = sorted(sizes, reverse=True)
        self._graphs: dict[int, Captured] = {}
        self._pool: Any = torch.cuda.graph_pool_handle()

    def __call__(self, latents: Tensor) -> Tensor:
        """Pixels [N, 3, 8h, 8w] float32 in [-1, 1] of latents [N, 4, h, w]; N must be a sum of the sizes."""
        parts, rest = [], len(latents)
        for size in self._sizes:
            parts += [size] * (rest // size)
            rest %= size
        return torch.cat([self._graph_for(part)(part) for part in torch.split(latents, parts)])

    def _graph_for(self, latents: Tensor) -> Captured:
        size = len(latents)
        if size not in self._graphs:
            self._graphs[size] = Captured(self._decode, [latents.clone()], self._pool)
            torch.cuda.empty_cache()  # memory that benchmarking cuDNN's algorithms took
        return self._graphs[size]
