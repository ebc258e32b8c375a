"""Train the demo's UNet: python -m training.train_unet DATA OUT [--minutes 10] [--resume]

LatentSync 1.0's contract at a small width: 13 channels (noisy latents 4, mask 1, masked image 4, reference 4), Whisper
windows [50, 384] by cross-attention, group norms over all frames of a chunk, one noise frame per chunk. It predicts
x0. Masked image and reference both come from the idle frame of that pose and the target is the talking frame: that
is the condition at inference, and nothing of the target's chin can leak.

Sampling starts from pure noise at t = 999 ("trailing" spacing), also with a single step; half of the training does so.
There is nothing in the network that knows the order of frames, so half of the chunks are strided: sixteen frames
further apart teach more than sixteen neighbours.
"""

import argparse
import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentsync.condition import face_condition
from latentsync.contract import CONTRACT
from latentsync.denoising import alphas_cumprod
from latentsync.scheduler import SchedulerConfig
from latentsync.unet import LatentSyncUNet, UNetConfig, upstream_state_dict
from latentsync.vae import Vae
from training.corpus import Clip, Corpus, TruthFrames, audio_features
from training.train_vae import lip_weight, pixels
from training.write_checkpoint import SCHEDULER, UNET, load_encoder, load_vae

CHUNK = CONTRACT.chunk_frames
TOKEN_DROPOUT = 0.1


@dataclass(frozen=True)
class Material:
    """Everything the loop draws from, on the device.

    latents [T, 4, h, w] of every `stride`-th talking frame; condition [N, 9, h, w] of the idle frames; features float16
    [variants, 2·frames, 1920]; row, sound [clips]: where each clip begins in latents and, in frames, in features;
    count, frames [clips]: latents and frames of each clip; start [clips]: the idle frame at which it begins.
    """

    latents: Tensor
    condition: Tensor
    features: Tensor
    row: Tensor
    sound: Tensor
    count: Tensor
    frames: Tensor
    start: Tensor
    clips: list[Clip]
    stride: int


@torch.inference_mode()
def prepare(
    corpus: Corpus, vae: Vae, variants: int, seed: int, device: str, checkpoints: Path, stride: int
) -> Material:
    clips = [clip for clip in corpus.training_clips() if clip.frames >= CHUNK * stride]
    features = audio_features(corpus, clips, load_encoder(checkpoints, device), variants, seed, device)
    print(f"features {tuple(features.shape)}", flush=True)
    counts = [-(-clip.frames // stride) for clip in clips]
    parts = (
        part
        for clip, count in zip(clips, counts, strict=True)
        for part in np.array_split(corpus.truth(clip)[::stride], -(-count // 64))
    )
    latents = torch.cat([vae.encode(pixels(part, device)) for part in parts])
    print(f"latents {tuple(latents.shape)} std {latents.std().item():.3f}", flush=True)
    frames = torch.tensor([clip.frames for clip in clips], device=device)
    count = torch.tensor(counts, device=device)
    start = torch.tensor([clip.start for clip in clips], device=device)
    condition = torch.from_numpy(face_condition(vae, corpus.idle)).float().to(device)
    row, sound = count.cumsum(0) - count, frames.cumsum(0) - frames
    return Material(latents, condition, features.to(device), row, sound, count, frames, start, clips, stride)


@dataclass(frozen=True)
class Batch:
    """audio [B, 16, 50, 384], condition [B, 9, 16, h, w], target [B, 4, 16, h, w], row [B, 16] into latents."""

    audio: Tensor
    condition: Tensor
    target: Tensor
    row: Tensor


def draw(material: Material, batch: int, generator: torch.Generator) -> Batch:
    device = material.latents.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    clip = torch.multinomial(material.count.float(), batch, True, generator=generator)
    count = material.count[clip][:, None]
    reach = ((count - 1) // (CHUNK - 1)).clamp(max=5)
    stride = torch.where(uniform(batch, 1) < 0.5, 1, 1 + (uniform(batch, 1) * reach).long())
    begin = (uniform(batch, 1) * (count - stride * (CHUNK - 1))).long()
    place = begin + stride * torch.arange(CHUNK, device=device)
    row, frame = material.row[clip][:, None] + place, place * material.stride
    at = (2 * frame[..., None] + torch.arange(-4, 6, device=device)).clamp(min=0)
    at = at.minimum((2 * material.frames[clip] - 1)[:, None, None]) + 2 * material.sound[clip][:, None, None]
    variant = (uniform(batch) * len(material.features)).long()
    audio = material.features[variant[:, None, None], at].float().reshape(batch, CHUNK, *CONTRACT.audio_shape)
    # A few chunks hear nothing, and every frame misses some of its 50 tokens: the lips learn to lean on all of them.
    audio = audio * (uniform(batch, 1, 1, 1) > 0.05) * (uniform(batch, CHUNK, CONTRACT.audio_tokens, 1) > TOKEN_DROPOUT)
    pose = (material.start[clip][:, None] + frame) % len(material.condition)
    return Batch(audio, material.condition[pose].transpose(1, 2), material.latents[row].transpose(1, 2), row)


def corrupt(target: Tensor, abar: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(noisy latents, timestep [B]): half of the chunks are pure noise at t = 999, where sampling starts."""
    batch, device = len(target), target.device
    timestep = torch.randint(0, 1000, (batch,), generator=generator, device=device)
    timestep[: batch // 2] = 999
    noise = torch.randn(batch, 4, 1, *target.shape[-2:], generator=generator, device=device)
    level = abar[timestep].view(-1, 1, 1, 1, 1)
    noisy = level.sqrt() * target + (1 - level).sqrt() * noise
    noisy[: batch // 2] = noise[: batch // 2].expand_as(target[: batch // 2])
    return noisy, timestep


class PixelLoss:
    """L1 in the repainted region, the lips above all, through the frozen decoder, on a few frames of each batch.

    Only the rows of latents that the mask touches are decoded: the upper face would be thrown away.
    """

    def __init__(self, corpus: Corpus, material: Material, vae: Vae, frames: int) -> None:
        device = material.latents.device.type
        self.truth = TruthFrames(corpus, material.clips, device, material.stride)
        self.vae, self.frames, self.device = vae, frames, device
        weight = lip_weight(corpus.idle.shape[1]).to(device)
        self.top = max(0, int(weight.amax(1).nonzero()[0]) // 8 - 1)
        self.weight = weight[self.top * 8 :]

    def __call__(self, made: Tensor, row: Tensor, generator: torch.Generator) -> Tensor:
        flat, rows = made.transpose(1, 2).flatten(0, 1), row.flatten()
        pick = torch.randperm(len(rows), generator=generator, device=self.device)[: self.frames]
        truth = self.truth[rows[pick]][:, self.top * 8 :]
        error = (self.vae.decode(flat[pick, :, self.top :]) - pixels(truth, self.device)).abs()
        return (error * self.weight).sum() / (self.weight.sum() * 3 * len(pick))


def train(
    unet: LatentSyncUNet, material: Material, pixel_loss: PixelLoss, seconds: float, batch: int, seed: int, save: Path
) -> LatentSyncUNet:
    """Train `unet` for `seconds` and return its moving average; writes it to `save` every two minutes."""
    device = material.latents.device.type
    gpu = device == "cuda"
    generator = torch.Generator(device).manual_seed(seed)  # of the device: a step that waits for the host is slow
    average = copy.deepcopy(unet).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(unet.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.05)
    abar = alphas_cumprod(SchedulerConfig(**SCHEDULER)).to(device)
    side = material.latents.shape[-1]
    weight = 0.15 + 0.85 * (1 - material.condition[0, 0].view(1, 1, 1, side, side))
    network = torch.compile(unet) if gpu else unet
    began = saved = time.monotonic()
    step, seen = 0, torch.zeros(2, device=device)
    while (progress := (time.monotonic() - began) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 200) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.01)
        drawn = draw(material, batch, generator)
        noisy, timestep = corrupt(drawn.target, abar, generator)
        with torch.autocast(device, torch.bfloat16, enabled=gpu):
            made = network(torch.cat([noisy, drawn.condition], 1), timestep, drawn.audio).float()
        latent = ((made - drawn.target).square() * weight).mean() / weight.mean()
        with torch.autocast(device, torch.bfloat16, enabled=gpu):
            pixel = pixel_loss(made, drawn.row, generator).float()
        optimiser.zero_grad()
        (latent + 0.5 * pixel).backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            keep = min(0.998, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.parameters()), list(unet.parameters()), 1 - keep)
        seen = 0.98 * seen + 0.02 * torch.stack([latent, pixel]).detach()
        if step % 50 == 0:
            rate = (time.monotonic() - began) / step
            print(f"unet step {step} {progress:.1%} latent {seen[0]:.4f} pixel {seen[1]:.4f} {rate:.2f} s", flush=True)
        if time.monotonic() - saved > 120:
            saved = time.monotonic()
            write(average, save)
    return average


def write(unet: LatentSyncUNet, path: Path) -> None:
    save_file({key: value.half().contiguous().cpu() for key, value in upstream_state_dict(unet).items()}, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, help="folder with vae.safetensors; unet.safetensors is written there")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="where whisper-tiny.en lies")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=0, help="chunks of 16 frames; 32 on a GPU, 6 on a CPU")
    parser.add_argument("--variants", type=int, default=0, help="of each clip's sound; 8 on a GPU, 4 on a CPU")
    parser.add_argument("--stride", type=int, default=0, help="encode every n-th frame; 1 on a GPU, 4 on a CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="start from the unet.safetensors that is there")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    gpu = device == "cuda"
    torch.manual_seed(arguments.seed)
    corpus, vae = Corpus.open(arguments.data), load_vae(arguments.out, device)
    variants = arguments.variants or (8 if gpu else 4)
    stride = arguments.stride or (1 if gpu else 4)
    material = prepare(corpus, vae, variants, arguments.seed, device, arguments.checkpoints, stride)
    target = arguments.out / "unet.safetensors"
    if arguments.resume:
        unet = LatentSyncUNet.from_upstream({k: v.float() for k, v in load_file(target).items()}, **UNET)
    else:
        unet = LatentSyncUNet(UNetConfig(**UNET))
    # torch's stub of Module.to leaves memory_format out.
    unet = unet.requires_grad_(True).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    print(json.dumps({"parameters": sum(p.numel() for p in unet.parameters()), "device": device}), flush=True)
    pixel_loss = PixelLoss(corpus, material, vae, 64 if gpu else 2)
    batch = arguments.batch or (32 if gpu else 6)
    write(train(unet, material, pixel_loss, 60 * arguments.minutes, batch, arguments.seed, target), target)


if __name__ == "__main__":
    main()
