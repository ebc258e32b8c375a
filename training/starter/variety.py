"""The same take as another camera, light, make-up and alignment would show it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_GAIN, _CAST, _STRONG_CAST, _GAMMA = 0.12, 0.08, 0.35, 0.18
_STRONG_SHARE = 0.2
_SATURATION = (0.6, 2.2)
_STRETCH, _SHIFT, _TURN = 0.05, 0.025, math.radians(2.5)
_LUMA = (0.299, 0.587, 0.114)


def varied(clips: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Clips of one take, each uint8 [T, R, R, 3], all changed alike: other colours, a face that fills its square
    otherwise, and for every second one left and right exchanged.

    Rendered faces are aligned by where their vertices are, and all have the proportions of one mesh; real ones differ
    by more. Strong lipstick and coloured light are rare among them too: a stronger saturation stands for both.
    """
    device = clips[0].device

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    cast = torch.where(uniform(1) < _STRONG_SHARE, _STRONG_CAST, _CAST)
    gain = torch.exp(_GAIN * normal(1) + cast * normal(3))[:, None, None]
    gamma = torch.exp(_GAMMA * normal(1))
    low, high = map(math.log, _SATURATION)
    saturation = torch.exp(low + (high - low) * uniform(1))
    stretch, shift, turn = torch.exp(_STRETCH * normal(2)), 2 * _SHIFT * normal(2), _TURN * normal(1)[0]
    mirror = torch.where(uniform(1)[0] < 0.5, -1.0, 1.0)
    across = torch.stack([mirror * stretch[0] * turn.cos(), -stretch[0] * turn.sin(), shift[0]])
    down = torch.stack([mirror * stretch[1] * turn.sin(), stretch[1] * turn.cos(), shift[1]])
    luma = torch.tensor(_LUMA, device=device)[:, None, None]
    changed = []
    for clip in clips:
        picture = clip.permute(0, 3, 1, 2).float() / 255
        place = F.affine_grid(torch.stack([across, down]).expand(len(clip), 2, 3), list(picture.shape), False)
        picture = F.grid_sample(picture, place, "bilinear", "reflection", False)
        grey = (picture * luma).sum(1, keepdim=True)
        picture = ((grey + (picture - grey) * saturation).clamp(0, 1) * gain).clamp(0, 1) ** gamma
        changed.append((picture * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous())
    return changed
