"""Which graphs the fused engine captures, and what they share; a stand-in captures, as a GPU would be needed for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from latentsync.contract import CONTRACT
from latentsync.denoising import PlainPredictor, SchedulerConfig, denoise
from latentsync.fused import graphed
from latentsync.fused.graphed import GraphedDecoder, GraphedUNet

SIDE = 8
COUNTED: list["CapturedOnCpu"] = []


@dataclass
class CapturedOnCpu:
    """Fixed inputs and one fixed output, as a CUDA graph has them."""

    run: Callable[..., Tensor]
    inputs: list[Tensor]
    pool: Any = None
    output: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.output = self.run(*self.inputs)
        COUNTED.append(self)

    def replay(self) -> None:
        self.output.copy_(self.run(*self.inputs))

    def __call__(self, *inputs: Tensor) -> Tensor:
        for held, given in zip(self.inputs, inputs, strict=True):
            held.copy_(given)
        self.replay()
        return self.output.clone()


class Event:
    def __init__(self, blocking: bool) -> None: ...
    def record(self) -> None: ...
    def synchronize(self) -> None: ...


@pytest.fixture(autouse=True)
def captures(monkeypatch: pytest.MonkeyPatch) -> list[CapturedOnCpu]:
    monkeypatch.setattr(graphed, "Captured", CapturedOnCpu)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    COUNTED.clear()
    return COUNTED


class SmallUNet:
    """In the place of FusedUNet: each frame's result depends on its chunk, its audio and the timestep."""

    dtype, device, input_channels, levels = torch.float32, torch.device("cpu"), 16, 1

    def shifts(self, timestep: int) -> Tensor:
        return torch.full((3,), timestep / 1000)

    def keys_and_values(self, audio: Tensor) -> Tensor:
        return audio.flatten(0, 1)[:, :2]

    def deep_rows(self, frames: int, height: int, width: int) -> Tensor:
        return torch.empty(frames * height * width, 1)

    def forward(
        self, sample: Tensor, shifts: Tensor, keys_values: Tensor, unit_frames: int, deep: Tensor | None = None
    ) -> Tensor:
        mean = sample.reshape(-1, unit_frames * sample[0].numel()).mean(dim=1).repeat_interleave(unit_frames)
        if deep is not None:
            deep.copy_(mean.repeat_interleave(SIDE * SIDE)[:, None])
        return self._last(sample, shifts, keys_values, mean)

    def shallow(self, sample: Tensor, shifts: Tensor, keys_values: Tensor, unit_frames: int, deep: Tensor) -> Tensor:
        return self._last(sample, shifts, keys_values, deep.reshape(len(sample), -1).mean(dim=1))

    def _last(self, sample: Tensor, shifts: Tensor, keys_values: Tensor, mean: Tensor) -> Tensor:
        heard = keys_values.reshape(len(sample), -1).mean(dim=1)
        result: Tensor = sample[:, :4] * 0.5 + (mean + heard + shifts[0])[:, None, None, None]
        return result


def plainly(sample: Tensor, times: Tensor, audio: Tensor) -> Tensor:
    unet, (chunks, _, frames, *_) = SmallUNet(), sample.shape
    rows = torch.nn.functional.pad(sample.transpose(1, 2).flatten(0, 1), (0, 0, 0, 0, 0, 3))
    found = unet.forward(rows, unet.shifts(int(times[0])), unet.keys_and_values(audio.flatten(0, 1)), frames)
    return found.reshape(chunks, frames, 4, SIDE, SIDE).transpose(1, 2)


def inputs(chunks: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(chunks * frames)
    shapes = ((chunks, 4, SIDE, SIDE), (chunks, frames, 9, SIDE, SIDE), (chunks, frames, 50, 384))
    noise, condition, audio = (torch.randn(shape, generator=generator) for shape in shapes)
    return noise, condition, audio


@pytest.mark.parametrize("order", [1, -1])
def test_chunks_of_all_lengths_are_denoised_as_without_graphs(captures: list[CapturedOnCpu], order: int) -> None:
    unet: Any = SmallUNet()
    predictor = GraphedUNet(unet, reuses=False)
    sizes = [(chunks, frames) for frames in CONTRACT.chunk_lengths for chunks in (1, 2, 4)][::order]
    for chunks, frames in (*sizes, *sizes):
        given = inputs(chunks, frames)
        expected = denoise(PlainPredictor(plainly), *given, 4, 1.0, SchedulerConfig())
        found = denoise(predictor, *given, 4, 1.0, SchedulerConfig())
        torch.testing.assert_close(found, expected)
    assert len(captures) == len(sizes), "one graph for each number and length of chunks, and none twice"


@pytest.mark.parametrize("reuses", [False, True])
def test_graphs_captured_after_the_largest_have_no_inputs_of_their_own(
    captures: list[CapturedOnCpu], reuses: bool
) -> None:
    unet: Any = SmallUNet()
    predictor = GraphedUNet(unet, reuses)
    for frames in reversed(CONTRACT.chunk_lengths):
        for chunks in (4, 2, 1):
            denoise(predictor, *inputs(chunks, frames), 2, 1.0, SchedulerConfig(), reuse=2 if reuses else 1)
    assert len({capture.pool for capture in captures}) == 1
    for tensors in zip(*(capture.inputs for capture in captures), strict=True):
        assert len({tensor.data_ptr() for tensor in tensors}) == 1


def test_decoder_runs_each_number_of_chunks_by_graphs_of_few_sizes(captures: list[CapturedOnCpu]) -> None:
    def decode(latents: Tensor) -> Tensor:
        return latents.sum(dim=1, keepdim=True).repeat(1, 3, 8, 8)

    decoder = GraphedDecoder(decode, CONTRACT.chunk_lengths)
    for frames in (64, 16, 8, 4, 12, 24, 48):
        latents = torch.randn(frames, 4, SIDE, SIDE)
        torch.testing.assert_close(decoder(latents), decode(latents))
    assert sorted(len(capture.inputs[0]) for capture in captures) == [4, 8, 16]
