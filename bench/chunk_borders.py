"""What the length of chunks does to the frames, and to the steps from one chunk to the next.

Frames of a chunk know of each other: by the UNet's norms, and from LatentSync 1.5 on by its motion modules. So the same
frames come out differently in other chunks, and two chunks meet at a border.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise

import torch
from torch import Tensor

from bench.machine import Machine, this_machine
from latentsync.contract import CONTRACT
from latentsync.denoising import denoise
from latentsync.motion import POSITIONS
from latentsync.scheduler import SchedulerConfig
from latentsync.unet import LatentSyncUNet

# Frames that one chunk can hold, which is the way without a border.
FRAMES = POSITIONS
_OVERLAP = 4
_DRIFT = 0.1


@dataclass(frozen=True)
class Way:
    """A way to cut the frames into chunks.

    `difference` is that of the latents from those of one chunk, relative. `inner_step` and `border_step` are how far a
    frame lies from the one before, within chunks and at their borders, over the same step in one chunk: a border shows
    where its step is larger. `work` are the frames that were denoised for each frame.
    """

    name: str
    difference: float
    inner_step: float
    border_step: float
    work: float


@dataclass(frozen=True)
class ChunkBorders:
    """A measurement of one network on drawn conditions and sound that change by a tenth from frame to frame."""

    date: str
    machine: Machine
    network: str
    frames: int
    steps: int
    guidance: float
    ways: list[Way]

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=2)


@dataclass(frozen=True)
class _Span:
    """A chunk of the frames `start` to `stop`; its last one is repeated up to `length` frames."""

    start: int
    stop: int
    length: int


@torch.inference_mode()
def chunk_borders(
    unet: LatentSyncUNet,
    network: str,
    latent_size: int,
    steps: int,
    guidance: float,
    date: datetime,
    ffmpeg: str,
    report: Callable[[str], None] = lambda line: None,
) -> ChunkBorders:
    """Denoises the same frames in chunks of several lengths, on the UNet's device; `network` says what it is."""
    noise, condition, audio = _drawn_frames(latent_size, unet.blocks.conv_in.weight.device)

    def latents(span: _Span) -> Tensor:
        rows = torch.arange(span.start, span.start + span.length).clamp(max=span.stop - 1)
        made = denoise(
            unet, noise, condition[:, rows], audio[:, rows], steps, guidance, SchedulerConfig()
        )  # [1, length, 4, h, w]
        return made[0, : span.stop - span.start].cpu()

    report(f"{FRAMES} frames in one chunk")
    whole = latents(_Span(0, FRAMES, FRAMES))
    ways = []
    for name, spans in _ways():
        report(name)
        joined = _joined(spans, [latents(span) for span in spans])
        ways.append(_compared(name, spans, joined, whole))
    return ChunkBorders(
        date.isoformat(timespec="seconds"), this_machine(ffmpeg), network, FRAMES, steps, guidance, ways
    )


def _ways() -> Iterator[tuple[str, list[_Span]]]:
    longest = CONTRACT.chunk_frames
    for length in reversed(CONTRACT.chunk_lengths):
        spans = [_Span(start, min(start + length, FRAMES), length) for start in range(0, FRAMES, length)]
        padded = ", the last one padded" if FRAMES % length else ""
        yield f"chunks of {length}{padded}", spans
    yield f"chunks of {longest} and of what is left", [_Span(0, longest, longest), _Span(longest, FRAMES, 8)]
    start = longest - _OVERLAP
    yield (
        f"chunks of {longest} and of what is left, {_OVERLAP} frames of both blended",
        [_Span(0, longest, longest), _Span(start, FRAMES, FRAMES - start)],
    )


def _joined(spans: list[_Span], parts: list[Tensor]) -> Tensor:
    """The chunks' latents [frames, 4, h, w] one after another; where two overlap, the later one fades in."""
    joined = torch.empty(FRAMES, *parts[0].shape[1:])
    ready = 0
    for span, part in zip(spans, parts, strict=True):
        shared = ready - span.start
        later = (torch.arange(1, shared + 1) / (shared + 1)).reshape(-1, 1, 1, 1)
        joined[span.start : ready] = torch.lerp(joined[span.start : ready], part[:shared], later)
        joined[ready : span.stop] = part[shared:]
        ready = span.stop
    return joined


def _compared(name: str, spans: list[_Span], joined: Tensor, whole: Tensor) -> Way:
    steps = _steps(joined) / _steps(whole)
    # Where chunks are blended the border is all the way from the first shared frame to the first that is not.
    borders = sorted({frame - 1 for before, after in pairwise(spans) for frame in range(after.start, before.stop + 1)})
    at_border = torch.zeros(len(steps), dtype=torch.bool)
    at_border[borders] = True
    return Way(
        name=name,
        difference=round(float((joined - whole).norm() / whole.norm()), 4),
        inner_step=round(float(steps[~at_border].mean()), 3),
        border_step=round(float(steps[at_border].mean()), 3),
        work=round(sum(span.length for span in spans) / FRAMES, 3),
    )


def _steps(latents: Tensor) -> Tensor:
    """How far each frame but the first lies from the one before."""
    steps: Tensor = torch.linalg.vector_norm((latents[1:] - latents[:-1]).flatten(1), dim=1)
    return steps


def _drawn_frames(size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Noise [1, 4, h, w], condition [1, frames, 9, h, w] and audio [1, frames, 50, 384] that drift like a video."""
    generator = torch.Generator().manual_seed(0)

    def drifting(*shape: int) -> Tensor:
        first, changes = (torch.randn(count, *shape, generator=generator) for count in (1, FRAMES))
        return (first + _DRIFT * changes.cumsum(0))[None].to(device)

    noise = torch.randn(1, CONTRACT.latent_channels, size, size, generator=generator).to(device)
    return noise, drifting(CONTRACT.condition_channels, size, size), drifting(*CONTRACT.audio_shape)
