"""Train the demo's UNet: python -m training.train_unet DATA OUT [--minutes 10] [--resume]

The network has LatentSync 1.0's contract at a small width: 13 channels (noisy latents 4, mask 1, masked image 4,
reference 4), Whisper windows [50, 384] by cross-attention, group norms over all frames of a chunk, one noise frame per
chunk. It predicts x0. Masked image and reference both come from the idle frame of the same pose, and the target is the
talking frame: that is the condition at inference, and it holds nothing of the target's chin.

Sampling starts from pure noise at t = 999 ("trailing" spacing), with a single step too; so does half of the training.
Nothing in the network depends on the order of frames, so half of the chunks are strided: sixteen distant frames differ
more than sixteen neighbours, and train more.
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
class TrainingData:
    """Everything from which batches are drawn, on the device.

    latents [T, 4, h, w] of every `stride`-th talking frame; condition [N, 9, h, w] of the idle frames; features float16
    [variants, 2·frames, 1920]; row, audio_frame [clips]: the first index of each clip in latents, and in frames in
    features; count, frames [clips]: number of latents and of frames of each clip; pose [all frames]: row of condition.
    """

    latents: Tensor
    condition: Tensor
    features: Tensor
    row: Tensor
    audio_frame: Tensor
    count: Tensor
    frames: Tensor
    pose: Tensor
    clips: list[Clip]
    stride: int


@torch.inference_mode()
def prepare(
    corpus: Corpus, vae: Vae, variants: int, seed: int, device: str, checkpoints: Path, stride: int
) -> TrainingData:
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
    pose = torch.from_numpy(np.concatenate([clip.poses for clip in clips])).to(device)
    condition = torch.from_numpy(face_condition(vae, corpus.idle)).float().to(device)
    row, audio_frame = count.cumsum(0) - count, frames.cumsum(0) - frames
    return TrainingData(latents, condition, features.to(device), row, audio_frame, count, frames, pose, clips, stride)


@dataclass(frozen=True)
class Batch:
    """audio [B, 16, 50, 384], condition [B, 9, 16, h, w], target [B, 4, 16, h, w], row [B, 16] into latents."""

    audio: Tensor
    condition: Tensor
    target: Tensor
    row: Tensor


def draw_batch(data: TrainingData, batch: int, generator: torch.Generator) -> Batch:
    device = data.latents.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    clip = torch.multinomial(data.count.float(), batch, True, generator=generator)
    count = data.count[clip][:, None]
    reach = ((count - 1) // (CHUNK - 1)).clamp(max=5)
    stride = torch.where(uniform(batch, 1) < 0.5, 1, 1 + (uniform(batch, 1) * reach).long())
    begin = (uniform(batch, 1) * (count - stride * (CHUNK - 1))).long()
    place = begin + stride * torch.arange(CHUNK, device=device)
    row, frame = data.row[clip][:, None] + place, place * data.stride
    at = (2 * frame[..., None] + torch.arange(-4, 6, device=device)).clamp(min=0)
    at = at.minimum((2 * data.frames[clip] - 1)[:, None, None]) + 2 * data.audio_frame[clip][:, None, None]
    variant = (uniform(batch) * len(data.features)).long()
    audio = data.features[variant[:, None, None], at].float().reshape(batch, CHUNK, *CONTRACT.audio_shape)
    # Some chunks get no audio, and each frame loses some of its 50 tokens, so that the lips depend on all of them.
    audio = audio * (uniform(batch, 1, 1, 1) > 0.05) * (uniform(batch, CHUNK, CONTRACT.audio_tokens, 1) > TOKEN_DROPOUT)
    pose = data.pose[data.audio_frame[clip][:, None] + frame]
    return Batch(audio, data.condition[pose].transpose(1, 2), data.latents[row].transpose(1, 2), row)


def add_noise(target: Tensor, alpha_bar: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(noisy latents, timestep [B]); half of the chunks are pure noise at t = 999, where sampling starts."""
    batch, device = len(target), target.device
    timestep = torch.randint(0, 1000, (batch,), generator=generator, device=device)
    timestep[: batch // 2] = 999
    noise = torch.randn(batch, 4, 1, *target.shape[-2:], generator=generator, device=device)
    level = alpha_bar[timestep].view(-1, 1, 1, 1, 1)
    noisy = level.sqrt() * target + (1 - level).sqrt() * noise
    noisy[: batch // 2] = noise[: batch // 2].expand_as(target[: batch // 2])
    return noisy, timestep


class PixelLoss:
    """L1 in the repainted region, weighted towards the lips, through the frozen decoder, on a few frames of each batch.

    Only the rows of latents that the mask covers are decoded, because the upper face has no weight.
    """

    def __init__(self, corpus: Corpus, data: TrainingData, vae: Vae, frames: int) -> None:
        device = data.latents.device.type
        self.truth = TruthFrames(corpus, data.clips, device, data.stride)
        self.vae, self.frames, self.device = vae, frames, device
        weight = lip_weight(corpus.idle.shape[1]).to(device)
        self.top = max(0, int(weight.amax(1).nonzero()[0]) // 8 - 1)
        self.weight = weight[self.top * 8 :]

    def __call__(self, predicted: Tensor, row: Tensor, generator: torch.Generator) -> Tensor:
        flat, rows = predicted.transpose(1, 2).flatten(0, 1), row.flatten()
        pick = torch.randperm(len(rows), generator=generator, device=self.device)[: self.frames]
        truth = self.truth[rows[pick]][:, self.top * 8 :]
        error = (self.vae.decode(flat[pick, :, self.top :]) - pixels(truth, self.device)).abs()
        return (error * self.weight).sum() / (self.weight.sum() * 3 * len(pick))


def train(
    unet: LatentSyncUNet, data: TrainingData, pixel_loss: PixelLoss, seconds: float, batch: int, seed: int, save: Path
) -> LatentSyncUNet:
    """Train `unet` for `seconds` and return its moving average; writes it to `save` every two minutes."""
    device = data.latents.device.type
    gpu = device == "cuda"
    generator = torch.Generator(device).manual_seed(seed)  # on the device, so that no step waits for the host
    average = copy.deepcopy(unet).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(unet.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.05)
    alpha_bar = alphas_cumprod(SchedulerConfig(**SCHEDULER)).to(device)
    side = data.latents.shape[-1]
    weight = 0.15 + 0.85 * (1 - data.condition[0, 0].view(1, 1, 1, side, side))
    network = torch.compile(unet) if gpu else unet
    began = saved = time.monotonic()
    step, running_loss = 0, torch.zeros(2, device=device)
    while (progress := (time.monotonic() - began) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 200) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.01)
        drawn = draw_batch(data, batch, generator)
        noisy, timestep = add_noise(drawn.target, alpha_bar, generator)
        with torch.autocast(device, torch.bfloat16, enabled=gpu):
            predicted = network(torch.cat([noisy, drawn.condition], 1), timestep, drawn.audio).float()
        latent = ((predicted - drawn.target).square() * weight).mean() / weight.mean()
        with torch.autocast(device, torch.bfloat16, enabled=gpu):
            pixel = pixel_loss(predicted, drawn.row, generator).float()
        optimiser.zero_grad()
        (latent + 0.5 * pixel).backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            keep = min(0.998, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.parameters()), list(unet.parameters()), 1 - keep)
        running_loss = 0.98 * running_loss + 0.02 * torch.stack([latent, pixel]).detach()
        if step % 50 == 0:
            rate = (time.monotonic() - began) / step
            losses = f"latent {running_loss[0]:.4f} pixel {running_loss[1]:.4f}"
            print(f"unet step {step} {progress:.1%} {losses} {rate:.2f} s", flush=True)
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
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="holds whisper-tiny.en")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=0, help="chunks of 16 frames; default: 32 on a GPU, 6 on a CPU")
    parser.add_argument("--variants", type=int, default=0, help="of a clip's audio; default: 8 on a GPU, 4 on a CPU")
    parser.add_argument("--stride", type=int, default=0, help="encode each n-th frame; default: 1 on a GPU, 4 on a CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="start from the existing unet.safetensors")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    gpu = device == "cuda"
    torch.manual_seed(arguments.seed)
    corpus, vae = Corpus.open(arguments.data), load_vae(arguments.out, device)
    variants = arguments.variants or (8 if gpu else 4)
    stride = arguments.stride or (1 if gpu else 4)
    data = prepare(corpus, vae, variants, arguments.seed, device, arguments.checkpoints, stride)
    target = arguments.out / "unet.safetensors"
    if arguments.resume:
        unet = LatentSyncUNet.from_upstream({k: v.float() for k, v in load_file(target).items()}, **UNET)
    else:
        unet = LatentSyncUNet(UNetConfig(**UNET))
    # torch's stub of Module.to leaves memory_format out.
    unet = unet.requires_grad_(True).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    print(json.dumps({"parameters": sum(p.numel() for p in unet.parameters()), "device": device}), flush=True)
    pixel_loss = PixelLoss(corpus, data, vae, 64 if gpu else 2)
    batch = arguments.batch or (32 if gpu else 6)
    write(train(unet, data, pixel_loss, 60 * arguments.minutes, batch, arguments.seed, target), target)


if __name__ == "__main__":
    main()
