"""The configuration of the demo checkpoint, and its folder: python -m training.write_checkpoint OUT TARGET"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from latentsync.vae import Vae, VaeType
from latentsync.whisper import AudioEncoder, WhisperConfig

RESOLUTION = 128
# Without attention at 16×16 the network is three times as fast; the audio enters at 8×8 and 4×4, which shape the lips.
UNET: dict[str, Any] = {
    "block_out_channels": [48, 96, 128],
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "norm_num_groups": 16,
    "cross_attention_dim": 384,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
}
SCHEDULER: dict[str, Any] = {
    "prediction_type": "sample",
    "timestep_spacing": "trailing",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "set_alpha_to_one": True,
    "default_steps": 1,
    "default_guidance": 1.0,
}
WHISPER: dict[str, Any] = {
    "path": "whisper-tiny.en",
    "n_mels": 80,
    "n_audio_state": 384,
    "n_audio_head": 6,
    "n_audio_layer": 4,
}


def load_encoder(checkpoints: Path, device: str) -> AudioEncoder:
    dimensions = {key: value for key, value in WHISPER.items() if key != "path"}
    state = load_file(checkpoints / str(WHISPER["path"]) / "encoder.safetensors")
    return AudioEncoder.from_state_dict(state, WhisperConfig(**dimensions)).float().to(device).eval()


def load_vae(folder: Path, device: str) -> Vae:
    description = json.loads((folder / "vae.json").read_text())
    state = {key: value.float() for key, value in load_file(folder / "vae.safetensors").items()}
    vae = Vae.from_state_dict(state, VaeType.TINY, description["scaling_factor"], description["config"])
    return vae.to(device).eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder with vae.json, vae.safetensors, unet.safetensors")
    parser.add_argument("target", type=Path, help="the checkpoint folder, for example checkpoints/demo")
    arguments = parser.parse_args()
    description = json.loads((arguments.out / "vae.json").read_text())
    vae = {"type": "AutoencoderTiny", "scaling_factor": description["scaling_factor"], "config": description["config"]}
    config = {
        "name": "demo",
        "made_for": ["avatar/idle.mp4", "second-avatar/idle.mp4"],
        "resolution": RESOLUTION,
        "scheduler": SCHEDULER,
        "unet": UNET,
        "vae": vae,
        "whisper": WHISPER,
    }
    arguments.target.mkdir(parents=True, exist_ok=True)
    (arguments.target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in ("vae.safetensors", "unet.safetensors"):
        shutil.copy(arguments.out / name, arguments.target / name)


if __name__ == "__main__":
    main()
