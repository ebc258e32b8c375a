"""3×3 convolutions by Winograd's minimal filtering: 36 products for 4×4 pixels instead of 144, or 16 for 2×2 of 36.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015. The input transform makes as many values of
each tile of pixels, which overlaps its neighbours by two; these are multiplied with the transformed filters as plain
matrix products; the output transform makes the tile's pixels of the results: kernels/winograd_4x4.py, winograd_2x2.py.
The two transforms replace passes over memory that are needed anyway: the norm before, the bias and the shortcut after.

A line of pixels is a polynomial, evaluated at as many points: 0, ±1 and infinity for 2×2; 0, ±5/8, ±3/2 and infinity
for 4×4. In float16 these points have half the error of the usual 0, ±1, ±2, in line with Barabasz et al., "Error
Analysis and Improving the Accuracy of Winograd Convolution", 2020: 0.0019 of the result, relative to its norm; 2×2 has
0.0006, the direct convolution 0.0002 (in bfloat16 0.0029).

A convolution of a picture at twice its size by the nearest neighbour is done in the same way: on a line, two pixels of
x are a · (x₋ - x) + (a + b + c) · x and (a + b + c) · x + c · (x₊ - x), so that 9 products give 2×2 pixels, where the
four phases of upsampling.py take 16 (kernels/winograd_upsampling.py, error 0.0006). Its input transform has no norm to
apply: it is one more pass over memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEAR, FAR = 5 / 8, 3 / 2


def transform_filter(weight: Tensor, side: int) -> Tensor:
    """Filters [(side + 2)², in, out] of those of a convolution [out, in, 3, 3]; computed in float32."""
    return _transform(weight, _filter_matrix(side))


def transform_upsampling_filter(weight: Tensor) -> Tensor:
    """Filters [9, in, out] of those of a convolution [out, in, 3, 3] after an upsampling; computed in float32."""
    return _transform(weight, [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])


def _transform(weight: Tensor, rows: list[list[float]]) -> Tensor:
    matrix = torch.tensor(rows, device=weight.device)
    transformed = torch.einsum("ai,oxij,bj->abxo", matrix, weight.float(), matrix)
    return transformed.flatten(0, 1).to(weight.dtype).contiguous()


def _filter_matrix(side: int) -> list[list[float]]:
    """A line of three weights evaluated at each point, over the product of the point's distances to the others."""
    points = {2: (0.0, 1.0, -1.0), 4: (0.0, NEAR, -NEAR, FAR, -FAR)}[side]
    rows = []
    for point in points:
        distances = 1.0
        for other in points:
            distances *= point - other if other != point else 1.0
        rows.append([1 / distances, point / distances, point**2 / distances])
    return [*rows, [0.0, 0.0, 1.0]]
