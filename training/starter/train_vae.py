"""Train the starter's VAE, one run of several: python -m training.starter.train_vae PEOPLE STATE --minutes 8 --of 16

PEOPLE are takes of training.people.render, --photographs a folder of pictures of anything. STATE is read where there is
one, and written: vae.json and its parts. The next run goes on from there, with other people if PEOPLE has others.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from latentsync.mask import face_mask
from training.starter import state
from training.starter.pictures import PictureSampler, faces_of, photographs, take_paths
from training.starter.run import Budget, backward, run
from training.starter.sizes import SIZES, Sizes
from training.starter.state import Progress
from training.train_vae import pixels, reconstruction_loss

NAME = "vae"
_LATENT_NOISE = 0.05


def train(
    sizes: Sizes, sample: Callable[[], tuple[Tensor, Tensor]], folder: Path, budget: Budget, device: str
) -> nn.Module:
    """Train the VAE from `folder`'s state, or from nothing, and leave the new state there; returns its average."""
    gpu = device == "cuda"
    vae: Any = AutoencoderTiny(**sizes.vae)
    if (weights := state.load(folder, NAME)) is not None:
        vae.load_state_dict(weights)
    vae = vae.to(device, memory_format=torch.channels_last).train()

    def loss_of_step() -> Tensor:
        images, weight = sample()
        with torch.autocast(device, torch.bfloat16, enabled=gpu):
            latents = vae.encoder(images).float()
            decoded = vae.decoder(latents + _LATENT_NOISE * torch.randn_like(latents)).float()
        normality = 1e-3 * (latents.mean((0, 2, 3)).square().mean() + (latents.std() - 1).square())
        loss: Tensor = reconstruction_loss(decoded, images, weight) + normality
        return loss

    def save(average: Any, progress: Progress) -> None:
        with torch.inference_mode():
            scale = 1 / torch.cat([average.encoder(sample()[0]).float() for _ in range(4)]).std().item()
        state.save(folder, NAME, average.state_dict(), progress, scaling_factor=scale, config=sizes.vae)

    average, progress = run(vae, backward(vae, loss_of_step), state.Progress.read(folder, NAME), budget, save)
    print(f"{progress.steps} steps, {progress.seconds:.0f} s in all runs, loss {progress.loss:.4f}", flush=True)
    return average


@torch.inference_mode()
def psnr_in_mask_db(vae: Any, faces: np.ndarray[Any, np.dtype[np.uint8]], device: str) -> float:
    """PSNR of faces uint8 [n, R, R, 3] through the VAE, where a speech repaints; as the product measures a fit."""
    repainted = torch.from_numpy(face_mask(faces.shape[1]) < 0.5).to(device)
    squares = []
    for part in np.array_split(faces, max(1, len(faces) // 32)):
        original = pixels(part, device)
        decoded = vae.decoder(vae.encoder(original)).float().clamp(-1, 1)
        squares.append(((decoded - original) / 2)[:, :, repainted].square().mean((1, 2)))
    return -10 * math.log10(torch.cat(squares).mean().item())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path)
    parser.add_argument("state", type=Path)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--size", choices=SIZES, default="starter")
    parser.add_argument("--minutes", type=float, required=True, help="of this run")
    parser.add_argument("--of", type=float, required=True, help="minutes of all runs together")
    parser.add_argument("--batch", type=int, default=0, help="default: 96 on a GPU, 8 on a CPU")
    parser.add_argument("--stride", type=int, default=2, help="use each n-th frame of a take: neighbours are alike")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--rate", type=float, default=7e-4)
    parser.add_argument("--seed", type=int, default=0, help="another one for each run")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(arguments.seed)
    faces = faces_of(take_paths(arguments.people), arguments.stride)
    photos = photographs(arguments.photographs)
    print(f"{len(faces)} faces, {len(photos)} photographs, {device}", flush=True)
    batch = arguments.batch or (96 if device == "cuda" else 8)
    sample = PictureSampler(faces, photos, batch, arguments.crop, device, arguments.seed)
    budget = Budget(60 * arguments.minutes, 60 * arguments.of, arguments.rate)
    vae = train(SIZES[arguments.size], sample, arguments.state, budget, device)
    held_out = faces_of(take_paths(arguments.people, held_out=True), 4 * arguments.stride)
    print(json.dumps({"held_out_people_db": round(psnr_in_mask_db(vae, held_out, device), 2)}))


if __name__ == "__main__":
    main()
