"""The effect of the fused engine's Winograd rounding on the pictures of a trained checkpoint, emulated on a CPU:

    python -m training.tile_error DATA --steps 1

DATA is the folder that `training.evaluate` takes. All 3×3 convolutions of the UNet's ResNet blocks are computed with
the rounding that each method has on a GPU, and nothing else is rounded: direct convolution in float16 and bfloat16, and
Winograd F(4×4, 3×3) in float16, as latentsync/fused/winograd.py describes it. Prints a line for each method and clip.
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
from latentsync.lip_landmarks import LipLandmarks
from latentsync.mask import face_mask
from training.evaluate import Evaluator, HeldOut
from training.generate import CheckpointGenerator
from training.lip_measures import correlation, psnr

Convolve = Callable[[Tensor, nn.Conv2d], Tensor]


def rounded(tensor: Tensor, dtype: torch.dtype = torch.float16) -> Tensor:
    """`tensor` rounded to `dtype`, as float32."""
    return tensor.to(dtype).float()


def direct(dtype: torch.dtype) -> Convolve:
    """Direct convolution: inputs, weights and results in `dtype`, sums in float32."""

    def convolve(x: Tensor, convolution: nn.Conv2d) -> Tensor:
        result = F.conv2d(rounded(x, dtype), rounded(convolution.weight, dtype), convolution.bias, padding=1)
        return rounded(result, dtype)

    return convolve


def winograd(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Winograd convolution in float16: tiles are rounded before the products and after them, too."""
    frames, channels, height, width = x.shape
    input_transform, output_transform = _transforms()
    tiles = F.pad(x, (1, 1, 1, 1)).unfold(2, 6, 4).unfold(3, 6, 4)
    transformed = rounded(torch.einsum("ai,ncyxij,bj->abnyxc", input_transform, tiles, input_transform))
    weights = transform_filter(convolution.weight.half(), side=4).float()
    products = rounded(torch.bmm(transformed.reshape(36, -1, channels), weights)).reshape(*transformed.shape[:5], -1)
    pixels = torch.einsum("pa,abnyxo,qb->noypxq", output_transform, products, output_transform)
    result = pixels.reshape(frames, -1, height, width)
    assert convolution.bias is not None
    return rounded(result + convolution.bias[:, None, None])


def _transforms() -> tuple[Tensor, Tensor]:
    """The transforms of kernels/winograd_4x4.py as matrices: of the input, [6, 6], and of the output, [4, 6]."""
    near, far = NEAR**2, FAR**2
    input_transform = [
        [near * far, 0, -near - far, 0, 1, 0],
        [0, -NEAR * far, -far, NEAR, 1, 0],
        [0, NEAR * far, -far, -NEAR, 1, 0],
        [0, -FAR * near, -near, FAR, 1, 0],
        [0, FAR * near, -near, -FAR, 1, 0],
        [0, near * far, 0, -near - far, 0, 1],
    ]
    points = (0.0, NEAR, -NEAR, FAR, -FAR)
    output_transform = [[point**power for point in points] + [float(power == 3)] for power in range(4)]
    return torch.tensor(input_transform), torch.tensor(output_transform)


METHODS: dict[str, Convolve | None] = {
    "float32": None,
    "float16": direct(torch.float16),
    "float16 Winograd": winograd,
    "bfloat16": direct(torch.bfloat16),
}


class Rounding:
    """Replaces the convolutions of all ResNet blocks by `method` while one is set."""

    method: Convolve | None = None

    def __init__(self) -> None:
        plain = unet.ChunkResnetBlock.forward

        def forward(block: unet.ChunkResnetBlock, hidden: Tensor, time: Tensor) -> Tensor:
            if self.method is None:
                return plain(block, hidden, time)
            frames = len(hidden) // len(time)
            inner = self.method(F.silu(unet.chunk_group_norm(block.norm1, hidden, frames)), block.conv1)
            shift = block.time_emb_proj(F.silu(time)).repeat_interleave(frames, dim=0)
            inner = F.silu(unet.chunk_group_norm(block.norm2, inner + shift[:, :, None, None], frames))
            shortcut: Tensor = hidden if block.conv_shortcut is None else block.conv_shortcut(hidden)
            return shortcut + self.method(inner, block.conv2)

        unet.ChunkResnetBlock.forward = forward  # type: ignore[method-assign, assignment]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/demo"))
    parser.add_argument("--landmarks", type=Path, default=Path("checkpoints/face/face_landmark.tflite"))
    parser.add_argument("--steps", type=int, help="default: the checkpoint's own")
    arguments = parser.parse_args()
    data, landmarks, rounding = HeldOut.open(arguments.data), LipLandmarks(arguments.landmarks), Rounding()
    generator = CheckpointGenerator(arguments.checkpoint, data.idle, "cpu", arguments.steps)
    evaluator = Evaluator(data, generator, landmarks)
    print("steps  clip      method            grey levels: max  mean in the mask  share over 1  r       PSNR, dB")
    for clip in (data.clips[0], data.clips[-1]):
        indices, truth = data.idle_indices(clip), data.truth(clip)
        mask, exact = face_mask(truth.shape[1]), None
        for name, rounding.method in METHODS.items():
            generated = evaluator.compose(generator(data.pcm(clip), indices), data.idle[indices])
            exact = generated if exact is None else exact
            lips = correlation(landmarks.openings(generated), landmarks.openings(truth))
            difference = _difference(generated, exact, mask)
            quality = psnr(generated, truth, mask)
            print(f"{generator.steps:5}  {clip.id:8}  {name:16}  {difference}  {lips:.4f}  {quality:.2f}", flush=True)


def _difference(generated: NDArray[np.uint8], exact: NDArray[np.uint8], mask: NDArray[np.float32]) -> str:
    difference = np.abs(generated.astype(np.int16) - exact)
    repainted = difference[:, np.squeeze(mask) < 0.5]
    return f"{difference.max():16}  {repainted.mean():16.4f}  {(difference > 1).mean():12.1e}"


if __name__ == "__main__":
    main()
