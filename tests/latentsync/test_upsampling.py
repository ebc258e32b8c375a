"""One convolution of the small picture against the 3×3 convolution of the large one."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from latentsync.upsampling import UpsamplingConvolution, merge_upsampling, phase_weights
from latentsync.vae import Vae, VaeType

KL: dict[str, Any] = {
    "block_out_channels": [32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
}
TINY: dict[str, Any] = {"encoder_block_out_channels": [8] * 4, "decoder_block_out_channels": [8] * 4}


@pytest.mark.parametrize(("height", "width"), [(4, 4), (3, 5), (1, 1)])
def test_phases_are_the_convolution_after_nearest_upsampling(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(2, 6, height, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(8, 6, 3, 3, generator=generator, dtype=torch.float64)
    expected = F.conv2d(F.interpolate(picture, scale_factor=2.0, mode="nearest"), weight, padding=1)

    phases = F.conv2d(picture, phase_weights(weight).double(), padding=1).reshape(2, 2, 2, 8, height + 1, width + 1)

    for y in range(2 * height):
        for x in range(2 * width):
            found = phases[:, y % 2, x % 2, :, (y + 1) // 2, (x + 1) // 2]
            torch.testing.assert_close(found, expected[:, :, y, x], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (3, 5), (1, 1)])
def test_transposed_convolution_is_the_convolution_after_nearest_upsampling(
    height: int, width: int, bias: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(2, 6, height, width, generator=generator)
    plain = nn.Conv2d(6, 8, 3, padding=1, bias=bias)
    expected = plain(F.interpolate(picture, scale_factor=2.0, mode="nearest"))
    torch.testing.assert_close(UpsamplingConvolution(plain)(picture), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "config", "count"), [(VaeType.KL, KL, 1), (VaeType.TINY, TINY, 3)])
def test_decoder_with_merged_upsampling_decodes_the_same(kind: VaeType, config: dict[str, Any], count: int) -> None:
    torch.manual_seed(0)
    vae = Vae(kind, 1.0, config).requires_grad_(False).eval()
    latents = torch.randn(2, 4, 8, 8)
    expected = vae.decode(latents)
    merge_upsampling(vae.autoencoder.decoder)
    assert sum(isinstance(module, UpsamplingConvolution) for module in vae.modules()) == count
    torch.testing.assert_close(vae.decode(latents), expected, rtol=1e-4, atol=1e-4)
