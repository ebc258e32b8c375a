"""How far the fused engine's tiles move a trained checkpoint's pictures and lips, emulated on a CPU:

    python -m training.tile_error DATA --steps 1

DATA is what `training.evaluate` takes. All 3×3 convolutions of the UNet's ResNet blocks are computed with the rounding
that each way would have on a GPU, and nothing else is rounded: directly in float16 and bfloat16, and in float16 by
tiles F(4×4, 3×3), as latentsync/fused/winograd.py describes them. One line for each way and clip.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from latentsync import unet
from latentsync.fused.winograd import FAR, NEAR, transform_filter
from latentsync.mask import face_mask
from training.evaluate import HeldOut, Judge
from training.generate import CheckpointGenerator
from training.lip_landmarks import LipLandmarks
from training.lip_measures import correlation, psnr

Convolve = Callable[[Tensor, nn.Conv2d], Tensor]


def rounded(tensor: Tensor, dtype: torch.dtype = torch.float16) -> Tensor:
    """float32 values that `dtype` can hold."""
    return tensor.to(dtype).float()


def directly(dtype: torch.dtype) -> Convolve:
    """A convolution of inputs, weights and results in `dtype`, its sums in float32."""

    def convolve(x: Tensor, convolution: nn.Conv2d) -> Tensor:
        result = F.conv2d(rounded(x, dtype), rounded(convolution.weight, dtype), convolution.bias, padding=1)
        return rounded(result, dtype)

    return convolve


def by_tiles(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """The same of float16 by tiles, which are rounded too, before the products and after them."""
    frames, channels, height, width = x.shape
    spread, gather = _turns()
    tiles = F.pad(x, (1, 1, 1, 1)).unfold(2, 6, 4).unfold(3, 6, 4)
    turned = rounded(torch.einsum("ai,ncyxij,bj->abnyxc", spread, tiles, spread))
    weights = transform_filter(convolution.weight.half(), side=4).float()
    products = rounded(torch.bmm(turned.reshape(36, -1, channels), weights)).reshape(*turned.shape[:5], -1)
    result = torch.einsum("pa,abnyxo,qb->noypxq", gather, products, gather).reshape(frames, -1, height, width)
    assert convolution.bias is not None
    return rounded(result + convolution.bias[:, None, None])


def _turns() -> tuple[Tensor, Tensor]:
    """What kernels/winograd_4x4.py does with a line, as matrices: [6, 6] of six pixels, [4, 6] of six products."""
    near, far = NEAR**2, FAR**2
    spread = [
        [near * far, 0, -near - far, 0, 1, 0],
        [0, -NEAR * far, -far, NEAR, 1, 0],
        [0, NEAR * far, -far, -NEAR, 1, 0],
        [0, -FAR * near, -near, FAR, 1, 0],
        [0, FAR * near, -near, -FAR, 1, 0],
        [0, near * far, 0, -near - far, 0, 1],
    ]
    points = (0.0, NEAR, -NEAR, FAR, -FAR)
    gather = [[point**power for point in points] + [float(power == 3)] for power in range(4)]
    return torch.tensor(spread), torch.tensor(gather)


WAYS: dict[str, Convolve | None] = {
    "float32": None,
    "float16": directly(torch.float16),
    "float16, tiles": by_tiles,
    "bfloat16": directly(torch.bfloat16),
}


class Rounding:
    """ResNet blocks whose convolutions are done in another way while it is set."""

    way: Convolve | None = None

    def __init__(self) -> None:
        plain = unet.ChunkResnetBlock.forward

        def forward(block: unet.ChunkResnetBlock, hidden: Tensor, time: Tensor) -> Tensor:
            if self.way is None:
                return plain(block, hidden, time)
            frames = len(hidden) // len(time)
            inner = self.way(F.silu(unet.chunk_group_norm(block.norm1, hidden, frames)), block.conv1)
            shift = block.time_emb_proj(F.silu(time)).repeat_interleave(frames, dim=0)
            inner = F.silu(unet.chunk_group_norm(block.norm2, inner + shift[:, :, None, None], frames))
            shortcut: Tensor = hidden if block.conv_shortcut is None else block.conv_shortcut(hidden)
            return shortcut + self.way(inner, block.conv2)

        unet.ChunkResnetBlock.forward = forward  # type: ignore[method-assign, assignment]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/demo"))
    parser.add_argument("--landmarks", type=Path, default=Path("checkpoints/face/face_landmark.tflite"))
    parser.add_argument("--steps", type=int, help="as the checkpoint says, if not given")
    arguments = parser.parse_args()
    data, landmarks, rounding = HeldOut.open(arguments.data), LipLandmarks(arguments.landmarks), Rounding()
    generator = CheckpointGenerator(arguments.checkpoint, data.idle, "cpu", arguments.steps)
    judge = Judge(data, generator, landmarks)
    print("steps  clip      way             grey levels: max  mean in the mask  share over 1  r       PSNR, dB")
    for clip in (data.clips[0], data.clips[-1]):
        indices, truth = data.idle_indices(clip), data.truth(clip)
        mask, exact = face_mask(truth.shape[1]), None
        for name, rounding.way in WAYS.items():
            made = judge.compose(generator(data.pcm(clip), indices), data.idle[indices])
            exact = made if exact is None else exact
            lips = correlation(landmarks.openings(made), landmarks.openings(truth))
            apart = _difference(made, exact, mask)
            quality = psnr(made, truth, mask)
            print(f"{generator.steps:5}  {clip.id:8}  {name:14}  {apart}  {lips:.4f}  {quality:.2f}", flush=True)


def _difference(made: NDArray[np.uint8], exact: NDArray[np.uint8], mask: NDArray[np.float32]) -> str:
    apart = np.abs(made.astype(np.int16) - exact)
    repainted = apart[:, np.squeeze(mask) < 0.5]
    return f"{apart.max():16}  {repainted.mean():16.4f}  {(apart > 1).mean():12.1e}"


if __name__ == "__main__":
    main()
