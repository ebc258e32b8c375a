"""Checkpoints of the official sizes with random weights, for benchmarks and tests where the official can't be had.

They generate noise, with the shapes, the memory and the time of the official checkpoints.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor

from export.replacing import replace_folder
from latentsync.contract import CONTRACT
from latentsync.motion import sinusoid
from latentsync.unet import LatentSyncUNet, UNetConfig, upstream_state_dict
from latentsync.whisper import AudioEncoder, WhisperConfig

_CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
_WHISPER = "whisper-recipe"


class Version(StrEnum):
    """The versions of LatentSync whose official checkpoints have a configuration in this repository."""

    V1_0 = "1.0"
    V1_5 = "1.5"
    V1_6 = "1.6"


def recipe_checkpoint(parent: Path, version: Version = Version.V1_0) -> Path:
    """Writes `parent`/recipe-1.0 (-1.5, -1.6) and the Whisper beside it, unless they are there; returns it.

    They are 1.9 GB as float16, and 2.7 GB with motion modules. The generator of every weight is seeded by its key:
    matrices and filters are normal over the square root of the fan-in; norms' weights are normal around one and biases
    around zero, with a deviation of a tenth. Positional encodings are the sinusoid that the official files hold.
    """
    name = f"recipe-{version.value}"
    folder, whisper = parent / name, parent / _WHISPER
    if (folder / "config.json").is_file() and whisper.is_dir():
        return folder
    config = json.loads((_CHECKPOINTS / f"latentsync-{version.value}" / "config.json").read_text(encoding="utf-8"))
    config |= {"name": name, "whisper": config["whisper"] | {"path": _WHISPER}}
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".recipe-", dir=parent) as temporary:
        fresh, fresh_whisper = Path(temporary) / name, Path(temporary) / _WHISPER
        fresh.mkdir()
        fresh_whisper.mkdir()
        with torch.device("meta"):
            sizes: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in config["unet"].items()
            }
            unet = upstream_state_dict(LatentSyncUNet(UNetConfig(**sizes)))
            vae = AutoencoderKL(**config["vae"]["config"]).state_dict()
            encoder = {
                f"encoder.{key}": value for key, value in AudioEncoder(WhisperConfig()).encoder.state_dict().items()
            }
        encoder.pop("encoder.positional_embedding", None)
        save_file(_drawn(unet), fresh / "unet.safetensors")
        save_file(_drawn(vae), fresh / "vae.safetensors")
        save_file(_drawn(encoder), fresh_whisper / "encoder.safetensors")
        (fresh / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(whisper, ignore_errors=True)
        fresh_whisper.rename(whisper)
        replace_folder(fresh, folder)
    return folder


def recipe_unet(version: Version, narrowest: int, device: str = "cpu") -> tuple[LatentSyncUNet, int]:
    """A UNet of a version with drawn weights in memory, and the side of its latents; `narrowest` is its first width."""
    config = json.loads((_CHECKPOINTS / f"latentsync-{version.value}" / "config.json").read_text(encoding="utf-8"))
    widths = config["unet"]["block_out_channels"]
    sizes = config["unet"] | {"block_out_channels": [width * narrowest // widths[0] for width in widths]}
    settings: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in sizes.items()}
    with torch.device("meta"):
        tensors = upstream_state_dict(LatentSyncUNet(UNetConfig(**settings)))
    drawn = {key: tensor.float().to(device) for key, tensor in _drawn(tensors).items()}
    return LatentSyncUNet.from_upstream(drawn, **sizes), config["resolution"] // CONTRACT.pixels_per_latent


def _drawn(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: _weight(key, tuple(tensor.shape)) for key, tensor in tensors.items()}


def _weight(key: str, shape: tuple[int, ...]) -> Tensor:
    if key.endswith(".pe"):
        return sinusoid(shape[-1]).half()
    values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape, dtype=np.float32)
    if len(shape) > 1:
        values /= np.float32(np.sqrt(np.prod(shape[1:])))
    else:
        values = np.float32(key.endswith("weight")) + np.float32(0.1) * values
    return torch.from_numpy(values).half()
