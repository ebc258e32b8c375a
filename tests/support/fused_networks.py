"""Small networks as plain PyTorch and on the fused kernels: prints how far they are apart, by the norms' ratio.

A program of its own: Triton's kernels are told before they are read that they are to be interpreted, on a CPU.
"""

import json
from collections.abc import Iterator
from dataclasses import replace

import torch

from latentsync.fused import blocks, convolutions, operators
from latentsync.fused.decoder import FusedDecoder
from latentsync.fused.kernels import products
from latentsync.fused.unet import FusedUNet
from latentsync.unet import LatentSyncUNet, MotionLayers, UNetConfig
from latentsync.vae import Vae, VaeType

CHUNKS, FRAMES, SIDE = 2, 2, 8


def uneven(module: torch.nn.Module) -> None:
    """Moves norms and biases away from ones and zeros, which would hide that they are forgotten."""
    for parameter in module.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    module.requires_grad_(False).eval()


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Relative difference."""
    return float((ours - theirs).norm() / theirs.norm())


@torch.inference_mode()
def unet_errors(motion_modules: MotionLayers = MotionLayers.NONE) -> dict[str, float]:
    """Of the whole UNet, and of its shallow part on deep features of another timestep."""
    widths, kinds = (32, 64), ("CrossAttnDownBlock2D", "DownBlock2D")
    unet = LatentSyncUNet(
        UNetConfig(
            block_out_channels=widths,
            layers_per_block=1,
            attention_head_dim=4,
            norm_num_groups=4,
            down_block_types=kinds,
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            motion_modules=motion_modules,
        )
    )
    uneven(unet)
    fused = FusedUNet(unet)
    sample, audio = torch.randn(CHUNKS, 13, FRAMES, SIDE, SIDE), torch.randn(CHUNKS, FRAMES, 50, 384)
    rows = torch.zeros(CHUNKS * FRAMES, SIDE, SIDE, fused.input_channels)
    rows[..., :13] = sample.permute(0, 2, 3, 4, 1).flatten(0, 1)
    pictures, keys_values = rows.permute(0, 3, 1, 2), fused.keys_and_values(audio.flatten(0, 1))
    deep_rows = fused.deep_rows(CHUNKS * FRAMES, SIDE, SIDE)

    def chunks(prediction: torch.Tensor) -> torch.Tensor:
        return prediction.reshape(CHUNKS, FRAMES, *prediction.shape[1:]).transpose(1, 2)

    whole = fused.forward(pictures, fused.shifts(501), keys_values, FRAMES, deep_rows)
    shallow = fused.shallow(pictures, fused.shifts(301), keys_values, FRAMES, deep_rows)
    expected, deep = unet.predict(sample, 501, audio)
    return {
        "unet": apart(chunks(whole), expected),
        "shallow": apart(chunks(shallow), unet.predict(sample, 301, audio, deep)[0]),
        "shallow is another prediction": apart(chunks(shallow), unet(sample, 301, audio)),
    }


@torch.inference_mode()
def decoder_error() -> float:
    """Of a decoder with one upsampling."""
    config = {
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 4,
        "norm_num_groups": 4,
    }
    vae = Vae(VaeType.KL, 0.18215, config)
    uneven(vae)
    latents = 0.2 * torch.randn(2, 4, 6, 6)
    return apart(FusedDecoder(vae).forward(latents), vae.decode(latents))


# How convolutions after a norm are done: the least number of tiles from which each tile size is used.
WAYS: dict[str, dict[int, int]] = {"direct": {}, "tiles of 4×4": {4: 1}, "tiles of 2×2": {2: 1}}


def errors_by_way() -> Iterator[tuple[str, dict[str, float]]]:
    """The same networks with each way, and as large pictures and other GPUs have them."""
    # Interpreted, a program takes a tenth of a second however many tiles it transforms.
    convolutions.WINOGRAD.update(
        {side: replace(kernels, input_launch=(16, 1)) for side, kernels in convolutions.WINOGRAD.items()}
    )
    for name, blocks.LEAST_TILES in WAYS.items():
        yield name, errors() | (motion_errors() if name == "direct" else {})
        blocks.LEAST_WINOGRAD_CHANNELS = blocks.LEAST_WINOGRAD_UPSAMPLING_CHANNELS = 1
    # Pictures of so few tiles give no program several blocks to sum up, but smaller blocks.
    convolutions.LEAST_PROGRAMS, convolutions.WINOGRAD[4] = 1, replace(convolutions.WINOGRAD[4], output_launch=(2, 4))
    blocks.LEAST_TILES = WAYS["tiles of 4×4"]
    yield "several blocks of tiles", errors()
    operators.reads_by_descriptors = lambda device: False  # type: ignore[attr-defined]  # imported there
    del products.gated_product
    blocks.LEAST_TILES = WAYS["direct"]
    yield "without descriptors", errors()


def errors() -> dict[str, float]:
    """Of both networks, drawn anew from the same seed."""
    torch.manual_seed(0)
    return unet_errors() | {"decoder": decoder_error()}


def motion_errors() -> dict[str, float]:
    """Of a UNet with motion modules, which no way of convolving concerns."""
    torch.manual_seed(0)
    found = unet_errors(MotionLayers.ALL)
    return {f"{name} with motion modules": found[name] for name in ("unet", "shallow")}


if __name__ == "__main__":
    print(json.dumps(dict(errors_by_way())))
