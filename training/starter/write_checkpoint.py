"""A state as a checkpoint folder: python -m training.starter.write_checkpoint STATE checkpoints/starter"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from training.starter import state
from training.starter.sizes import SIZES, Sizes
from training.starter.state import Progress
from training.write_checkpoint import SCHEDULER, WHISPER

# Faces that it never saw open their lips less than they should, and more so guided away from silence
# (docs/benchmarks/starter-checkpoint-2core-cpu.md).
GUIDANCE = {"default_guidance": 1.3, "guided_from": "silence"}


def write(folder: Path, target: Path, sizes: Sizes, name: str = "starter") -> None:
    """Write config.json, vae.safetensors and unet.safetensors (float16).

    There is no `made_for`: the checkpoint is for anybody, and says which people it learned from. Raises
    FileNotFoundError where a network wasn't trained.
    """
    about = state.about(folder, "vae")
    config = {
        "name": name,
        "trained_on": "rendered people",
        "resolution": sizes.resolution,
        "scheduler": SCHEDULER | GUIDANCE,
        "unet": sizes.unet,
        "vae": {"type": "AutoencoderTiny", "scaling_factor": about["scaling_factor"], "config": about["config"]},
        "whisper": WHISPER,
    }
    target.mkdir(parents=True, exist_ok=True)
    for network in ("vae", "unet"):
        weights = state.load(folder, network)
        if weights is None:
            raise FileNotFoundError(f"{folder} has no {network}.json: train it first")
        save_file({key: value.half() for key, value in weights.items()}, target / f"{network}.safetensors")
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def read(checkpoint: Path, folder: Path) -> None:
    """The state that such a checkpoint came from, for training it further: its weights, and nothing of the progress."""
    vae = json.loads((checkpoint / "config.json").read_text())["vae"]
    about: dict[str, dict[str, object]] = {
        "vae": {"scaling_factor": vae["scaling_factor"], "config": vae["config"]},
        "unet": {"stage": "one-step"},
    }
    for network, known in about.items():
        state.save(folder, network, load_file(checkpoint / f"{network}.safetensors"), Progress(), **known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--size", choices=SIZES, default="starter")
    arguments = parser.parse_args()
    write(arguments.state, arguments.target, SIZES[arguments.size])


if __name__ == "__main__":
    main()
