"""A checkpoint of the official size with random weights, for benchmarks and tests where the official one can't be had.

It generates noise, with the shapes, the memory and the time of the official checkpoint.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor

from export.replacing import replace_folder
from latentsync.unet import LatentSyncUNet, UNetConfig, upstream_state_dict
from latentsync.whisper import AudioEncoder, WhisperConfig

OFFICIAL_CONFIG = Path(__file__).resolve().parent.parent / "checkpoints" / "latentsync-1.0" / "config.json"
_FOLDER, _WHISPER = "recipe-1.0", "whisper-recipe"


def recipe_checkpoint(parent: Path) -> Path:
    """Writes `parent`/recipe-1.0 and the Whisper beside it (1.9 GB as float16), unless they are there; returns it.

    The generator of every weight is seeded by its key: matrices and filters are normal over the square root of the
    fan-in; norms' weights are normal around one and biases around zero, with a deviation of a tenth.
    """
    folder, whisper = parent / _FOLDER, parent / _WHISPER
    if (folder / "config.json").is_file() and whisper.is_dir():
        return folder
    config = json.loads(OFFICIAL_CONFIG.read_text(encoding="utf-8"))
    config |= {"name": _FOLDER, "whisper": config["whisper"] | {"path": _WHISPER}}
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".recipe-", dir=parent) as temporary:
        fresh, fresh_whisper = Path(temporary) / _FOLDER, Path(temporary) / _WHISPER
        fresh.mkdir()
        fresh_whisper.mkdir()
        with torch.device("meta"):
            unet = upstream_state_dict(LatentSyncUNet(UNetConfig()))
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


def _drawn(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: _weight(key, tuple(tensor.shape)) for key, tensor in tensors.items()}


def _weight(key: str, shape: tuple[int, ...]) -> Tensor:
    values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape, dtype=np.float32)
    if len(shape) > 1:
        values /= np.float32(np.sqrt(np.prod(shape[1:])))
    else:
        values = np.float32(key.endswith("weight")) + np.float32(0.1) * values
    return torch.from_numpy(values).half()
