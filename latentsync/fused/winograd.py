"""3×3 convolutions by Winograd's minimal filtering: 36 products for 4×4 pixels instead of 144, or 16 for 2×2 of 36.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015. Each tile of pixels, which overlaps its
neighbours by two, is turned into as many numbers (`spread`), these are multiplied with the turned weights as plain
matrix products, and the results turned into the tile's pixels (`gather`): tiles_4x4.py and tiles_2x2.py. The two turns
take the place of passes over memory that are there anyway: the norm before, the bias and the shortcut after.

A line of pixels is a polynomial, taken at as many points: 0, ±1 and infinity for 2×2, 0, ±5/8, ±3/2 and infinity for
4×4. In float16 these lose half of what the usual 0, ±1, ±2 do, as Barabasz et al., "Error Analysis and Improving the
Accuracy of Winograd Convolution", 2020, would have it: 0.0019 of the result, relative to its norm, 2×2 0.0006, the
direct convolution 0.0002 (in bfloat16 0.0029).

A convolution of a picture at twice its size by the nearest neighbour is done in the same way: on a line, two pixels of
x are a · (x₋ - x) + (a + b + c) · x and (a + b + c) · x + c · (x₊ - x), so that 9 products give 2×2 pixels, where the
four phases of upsampling.py take 16 (tiles_upsampled.py, off by 0.0006). Its `spread` has no norm to
do: it is a pass more.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEAR, FAR = 5 / 8, 3 / 2


def turned_weights(weight: Tensor, side: int) -> Tensor:
    """Weights [(side + 2)², in, out] of those of a convolution [out, in, 3, 3]; computed in float32."""
    return _turned(weight, _turn(side))


def upsampling_weights(weight: Tensor) -> Tensor:
    """Weights [9, in, out] of those of a convolution [out, in, 3, 3] after an upsampling; computed in float32."""
    return _turned(weight, [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])


def _turned(weight: Tensor, lines: list[list[float]]) -> Tensor:
    turn = torch.tensor(lines, device=weight.device)
    turned = torch.einsum("ai,oxij,bj->abxo", turn, weight.float(), turn)
    return turned.flatten(0, 1).to(weight.dtype).contiguous()


def _turn(side: int) -> list[list[float]]:
    """What a line of three weights is at each point, over the product of the point's distances to the others."""
    points = {2: (0.0, 1.0, -1.0), 4: (0.0, NEAR, -NEAR, FAR, -FAR)}[side]
    rows = []
    for point in points:
        distances = 1.0
        for other in points:
            distances *= point - other if other != point else 1.0
        rows.append([1 / distances, point / distances, point**2 / distances])
    return [*rows, [0.0, 0.0, 1.0]]
