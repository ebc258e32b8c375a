"""One 2×2 convolution of the small picture against the 3×3 convolution of the large one."""

import pytest
import torch
from torch.nn import functional as F

from latentsync.fused.upsampling import phase_weights


@pytest.mark.parametrize(("height", "width"), [(4, 4), (3, 5), (1, 1)])
def test_phases_are_the_convolution_after_nearest_upsampling(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(2, 6, height, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(8, 6, 3, 3, generator=generator, dtype=torch.float64)
    expected = F.conv2d(F.interpolate(picture, scale_factor=2.0, mode="nearest"), weight, padding=1)

    phases = F.conv2d(picture, phase_weights(weight).double(), padding=1).unflatten(1, (2, 2, 8))

    for y in range(2 * height):
        for x in range(2 * width):
            found = phases[:, y % 2, x % 2, :, (y + 1) // 2, (x + 1) // 2]
            torch.testing.assert_close(found, expected[:, :, y, x], rtol=1e-5, atol=1e-5)
