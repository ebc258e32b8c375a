"""Train the demo's VAE on the rendered faces: python -m training.train_vae DATA… OUT [--minutes 10]

The loss is L1 + 2·MSE + gradient L1, with a weight of 3 in the repainted region and of up to 11 around the lips. Noise
is added to the latents, so that the decoder tolerates the UNet's errors. In a part of each batch the repainted region
is blank, because the masked image is encoded too. Of several data sets each step draws another. On a CPU the networks
train on crops around the mouth: they are convolutional, and a crop costs a quarter of a face.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentsync.mask import face_mask
from training.corpus import Corpus, TruthFrames
from training.lip_measures import lip_weights

# The decoder runs for every frame of a live speech, so at full resolution it has only one convolution and the output.
CONFIG = {
    "encoder_block_out_channels": [32, 32, 32, 32],
    "decoder_block_out_channels": [32, 32, 32, 32],
    "num_encoder_blocks": [1, 1, 2, 2],
    "num_decoder_blocks": [3, 4, 2, 0],
}


def pixels(frames: NDArray[np.uint8] | Tensor, device: str) -> Tensor:
    """uint8 [N, R, R, 3] → float32 [N, 3, R, R] in [-1, 1]."""
    if not isinstance(frames, Tensor):
        frames = torch.from_numpy(np.ascontiguousarray(frames))
    return frames.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def lip_weight(resolution: int) -> Tensor:
    """`lip_weights`, as a tensor."""
    return torch.from_numpy(lip_weights(resolution))


def reconstruction_loss(decoded: Tensor, original: Tensor, weight: Tensor) -> Tensor:
    error = decoded - original
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    weighted = weight / weight.mean()
    return (error.abs() * weighted).mean() + 2 * (error.square() * weighted).mean() + 0.5 * edges


class FaceSampler:
    """Random training faces: talking, idle, and some with a blank repainted region."""

    def __init__(self, corpus: Corpus, batch: int, crop: int | None, device: str, seed: int) -> None:
        self.truth = TruthFrames(corpus, corpus.training_clips(), device)
        self.idle, self.batch, self.crop, self.device = corpus.idle, batch, crop, device
        self.rng = np.random.default_rng(seed)
        self.mask = torch.from_numpy(face_mask(self.idle.shape[1])).to(device)
        self.region = lip_weight(self.idle.shape[1]).to(device)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """(pixels [B, 3, r, r], weight [B, 1, r, r])."""
        images = pixels(self.truth[torch.from_numpy(self.rng.integers(0, len(self.truth), self.batch))], self.device)
        idle = self.batch // 6
        images[:idle] = pixels(self.idle[self.rng.integers(0, len(self.idle), idle)], self.device)
        blanked = slice(self.batch // 12, self.batch // 6 + self.batch // 12)
        images[blanked] *= self.mask
        weight = (1 + 2 * self.region).expand(self.batch, 1, -1, -1)
        if self.crop is None:
            return images, weight
        last = images.shape[-1] - self.crop
        top, left = int(self.rng.integers(last // 2, last + 1)), int(self.rng.integers(0, last + 1))
        at = (..., slice(top, top + self.crop), slice(left, left + self.crop))
        return images[at], weight[at]


def train(
    vae: AutoencoderTiny,
    trained: list[torch.nn.Parameter],
    corpora: Sequence[Corpus],
    seconds: float,
    device: str,
    seed: int,
) -> AutoencoderTiny:
    gpu = device == "cuda"
    vae = vae.to(device, memory_format=torch.channels_last).train()
    samplers = [FaceSampler(corpus, 96 if gpu else 8, None if gpu else 64, device, seed) for corpus in corpora]
    optimiser = torch.optim.AdamW(trained, lr=1e-3, weight_decay=1e-4)
    began, step = time.monotonic(), 0
    while (progress := (time.monotonic() - began) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 1.5e-3 * min(1, (step + 1) / 100) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.01)
        images, weight = samplers[step % len(samplers)]()
        with torch.autocast(device, torch.bfloat16, enabled=gpu):
            latents = vae.encoder(images)
        latents = latents.float()
        with torch.autocast(device, torch.bfloat16, enabled=gpu):
            decoded = vae.decoder(latents + 0.05 * torch.randn_like(latents)).float()
        normality = 1e-3 * (latents.mean((0, 2, 3)).square().mean() + (latents.std() - 1).square())
        loss = reconstruction_loss(decoded, images, weight) + normality
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        step += 1
        if step % 100 == 0:
            print(
                f"vae step {step} {progress:.0%} loss {loss.item():.4f} latent std {latents.std().item():.2f}",
                flush=True,
            )
    return vae.eval().requires_grad_(False)


@torch.inference_mode()
def scaling_factor(vae: AutoencoderTiny, corpus: Corpus, device: str) -> float:
    """The scale that gives training latents a standard deviation of 1."""
    train_clips = corpus.training_clips()[::7]
    latents = torch.cat([vae.encoder(pixels(corpus.truth(clip)[::25], device)) for clip in train_clips])
    return 1 / latents.std().item()


@torch.inference_mode()
def measure(vae: AutoencoderTiny, corpus: Corpus, device: str) -> dict[str, float]:
    """The PSNR on held-out faces."""
    mask = torch.from_numpy(face_mask(corpus.idle.shape[1])).to(device)
    held = [clip for clip in corpus.clips if clip.group != "train"]
    original = pixels(np.concatenate([corpus.truth(clip)[::10] for clip in held]), device)
    error = torch.cat(
        [(vae.decoder(vae.encoder(part)).clamp(-1, 1) - part) / 2 for part in torch.split(original, 16)]
    ).square()
    inside = (error * (1 - mask)).sum() / ((1 - mask).sum() * error.shape[0] * 3)
    return {
        "psnr_db": -10 * math.log10(error.mean().item()),
        "psnr_in_mask_db": -10 * math.log10(inside.item()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="train the existing vae.safetensors' decoder further")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(arguments.seed)
    corpora = [Corpus.open(folder) for folder in arguments.data]
    vae = AutoencoderTiny(**CONFIG)
    if arguments.resume:
        vae.load_state_dict({k: v.float() for k, v in load_file(arguments.out / "vae.safetensors").items()})
    # Only the decoder is trained further: with a changed encoder the latents that a UNet was trained on would be wrong.
    trained = list((vae.decoder if arguments.resume else vae).parameters())
    vae = train(vae, trained, corpora, 60 * arguments.minutes, device, arguments.seed)
    description = arguments.out / "vae.json"
    # A UNet that was trained before knows latents at the scale of then.
    scale = json.loads(description.read_text())["scaling_factor"] if arguments.resume else None
    result = {"scaling_factor": scale or scaling_factor(vae, corpora[0], device)}
    measured = {str(corpus.folder): measure(vae, corpus, device) for corpus in corpora}
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = {key: value.half().contiguous().cpu() for key, value in vae.state_dict().items()}
    save_file(weights, arguments.out / "vae.safetensors")
    description.write_text(json.dumps({"config": CONFIG, **result, "measured": measured}, indent=1))
    print(json.dumps({**result, **measured}))


if __name__ == "__main__":
    main()
