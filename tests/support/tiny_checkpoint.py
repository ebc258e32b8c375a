"""A checkpoint with LatentSync 1.0's contract and random weights, small enough to serve in a test."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file
from whisper.model import AudioEncoder

from latentsync.unet import LatentSyncUNet, UNetConfig, upstream_state_dict

RESOLUTION = 64
LATENT_SIZE = RESOLUTION // 8

UNET: dict[str, Any] = {
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 384,
}
VAE = {
    "encoder_block_out_channels": [16, 16, 16, 16],
    "decoder_block_out_channels": [16, 16, 16, 16],
    "num_encoder_blocks": [1, 1, 1, 1],
    "num_decoder_blocks": [1, 1, 1, 1],
}
CONFIG = {
    "name": "tiny",
    "resolution": RESOLUTION,
    "scheduler": {
        "prediction_type": "sample",
        "timestep_spacing": "leading",
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "steps_offset": 1,
        "default_steps": 2,
        "default_guidance": 1.0,
    },
    "unet": UNET,
    "vae": {"type": "AutoencoderTiny", "scaling_factor": 1.0, "config": VAE},
    "whisper": {
        "path": "whisper-tiny",
        "n_mels": 80,
        "n_audio_state": 384,
        "n_audio_head": 6,
        "n_audio_layer": 4,
    },
}


# Motion modules have 32 groups, so their channels can't be fewer.
MOVING_UNET = UNET | {"block_out_channels": [32, 64], "motion_modules": "all"}


def write_tiny_checkpoint(
    parent: Path, unet_config: dict[str, Any] = UNET, name: str = "tiny", resolution: int = RESOLUTION, seed: int = 0
) -> Path:
    """Writes parent/tiny (UNet, VAE), and parent/whisper-tiny (audio encoder) if it isn't there; returns parent/tiny.

    Another `name` is that of the checkpoint and of its folder.
    """
    torch.manual_seed(seed)
    checkpoint, whisper = parent / name, parent / "whisper-tiny"
    checkpoint.mkdir(parents=True)
    config = CONFIG | {"name": name, "resolution": resolution, "unet": unet_config}
    (checkpoint / "config.json").write_text(json.dumps(config))
    settings: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in unet_config.items()}
    unet = upstream_state_dict(LatentSyncUNet(UNetConfig(**settings)))
    save_file({name: tensor.contiguous() for name, tensor in unet.items()}, checkpoint / "unet.safetensors")
    save_file(AutoencoderTiny(**VAE).state_dict(), checkpoint / "vae.safetensors")
    if whisper.is_dir():
        return checkpoint
    whisper.mkdir()
    encoder = AudioEncoder(80, 1500, 384, 6, 4).state_dict()
    save_file({f"encoder.{name}": tensor for name, tensor in encoder.items()}, whisper / "encoder.safetensors")
    return checkpoint
