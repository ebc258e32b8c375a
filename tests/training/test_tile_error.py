"""The emulated methods compute the convolution, within their rounding."""

import torch
from torch import nn

from training.tile_error import direct, winograd


def test_each_method_computes_the_convolution_within_its_rounding() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(64, 32, 3, padding=1).requires_grad_(False)
    x = torch.nn.functional.silu(torch.randn(2, 64, 8, 12))
    exact = convolution(x)

    def error(result: torch.Tensor) -> float:
        return float((result - exact).norm() / exact.norm())

    assert 1e-4 < error(direct(torch.float16)(x, convolution)) < 5e-4
    assert 5e-4 < error(winograd(x, convolution)) < 3e-3
