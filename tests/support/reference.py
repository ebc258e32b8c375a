"""Weights that both the reference implementation and these tests draw from a tensor's name."""

import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentsync.motion import sinusoid
from latentsync.unet import MotionLayers, UNetConfig

DEMO_UNET: dict[str, Any] = {
    "block_out_channels": [32, 64, 96],
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "norm_num_groups": 16,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 384,
}
TINY_UNET = UNetConfig(
    block_out_channels=(16, 32),
    layers_per_block=1,
    norm_num_groups=8,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
)
TINY_MOVING_UNET = UNetConfig(
    block_out_channels=(32, 64),
    layers_per_block=1,
    norm_num_groups=8,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    motion_modules=MotionLayers.ALL,
)


def recipe(key: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """The recipe of the fixtures' README: the weights that the reference implementation ran with."""
    values = np.random.default_rng([seed, zlib.crc32(key.encode())]).standard_normal(shape, dtype=np.float32)
    if len(shape) > 1:
        return values / np.float32(np.sqrt(np.prod(shape[1:])))
    return (1 + 0.1 * values if key.endswith("weight") else 0.1 * values).astype(np.float32)


def recipe_weights(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    return {
        key: sinusoid(shape[-1]) if key.endswith(".pe") else torch.from_numpy(recipe(key, shape, seed))
        for key, shape in shapes.items()
    }


def shapes_of(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


TINY_VAE = {
    "encoder_block_out_channels": [8, 8, 8, 8],
    "decoder_block_out_channels": [8, 8, 8, 8],
    "num_encoder_blocks": [1, 1, 1, 1],
    "num_decoder_blocks": [1, 1, 1, 1],
}
