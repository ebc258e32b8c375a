"""Train the demo's UNet further, for live speech: python -m training.train_live DATA… OUT [--steps 6000]

Starts from OUT/unet.safetensors. Each chunk is generated twice in a step: from features of the whole recording in a
chunk of 16, and from those of live speech (see `training.live_features`) in chunks of 4, 8 or 16. Both are compared
with the ground truth, and with each other: live lips should be those of an upload, although they don't hear what
follows.

DATA may hold every n-th face only (`training.render_faces --every n`): neighbouring faces differ little. Frames without
a face are compared with each other only. Of several data sets, such as one for each presenter, each step draws one.
"""

import argparse
import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from latentsync.condition import face_condition
from latentsync.contract import CONTRACT
from latentsync.denoising import alphas_cumprod
from latentsync.scheduler import SchedulerConfig
from latentsync.unet import LatentSyncUNet
from latentsync.vae import Vae
from latentsync.whisper import AudioEncoder
from training.corpus import Clip, Corpus, TruthFrames
from training.live_features import HeardSpeech, heard_speech
from training.train_unet import TOKEN_DROPOUT, add_noise, write
from training.train_vae import lip_weight, pixels
from training.write_checkpoint import SCHEDULER, UNET, load_encoder, load_vae

CHUNK = CONTRACT.chunk_frames
LIVE_LENGTHS, LIVE_SHARES = (4, 8, 16), (0.3, 0.4, 0.3)
PEAK_RATE = 6e-4
AVERAGE = 0.999
NO_AUDIO = 0.05

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(sample [B, 13, F, h, w], timestep [B], audio [B, F, 50, 384]) → predicted latents [B, 4, F, h, w], float32."""


@dataclass(frozen=True)
class LiveData:
    """Everything from which batches are drawn, on the device.

    latents [T, 4, h, w] of every `every`-th frame; condition [N, 9, h, w] of the idle frames; row, first, frames
    [clips]: the first index of each clip in latents and among all frames, and its frames; pose [all frames]: row of
    condition.
    """

    latents: Tensor
    condition: Tensor
    heard: HeardSpeech
    row: Tensor
    first: Tensor
    frames: Tensor
    pose: Tensor
    clips: list[Clip]
    every: int


class Ears:
    """Features of speech, computed once where several data sets have the same clips."""

    def __init__(self, encoder: AudioEncoder, variants: int, seed: int, device: str) -> None:
        self._encoder, self._variants, self._seed, self._device = encoder, variants, seed, device
        self._heard: dict[tuple[str, ...], HeardSpeech] = {}

    def hear(self, corpus: Corpus, clips: list[Clip]) -> HeardSpeech:
        """The features of these clips, which have the same sound wherever they have the same names."""
        names = tuple(clip.id for clip in clips)
        if names not in self._heard:
            self._heard[names] = heard_speech(corpus, clips, self._encoder, self._variants, self._seed, self._device)
        return self._heard[names]


@torch.inference_mode()
def prepare(corpus: Corpus, vae: Vae, hear: Callable[[Corpus, list[Clip]], HeardSpeech], every: int) -> LiveData:
    """Features and latents of all training clips that are long enough for a chunk."""
    clips = [clip for clip in corpus.training_clips() if clip.frames >= 2 * CHUNK]
    heard = hear(corpus, clips)
    device = heard.live.device
    counts = torch.tensor([-(-clip.frames // every) for clip in clips], device=device)
    parts = (part for clip in clips for part in np.array_split(corpus.truth(clip), -(-clip.frames // (64 * every))))
    latents = torch.cat([vae.encode(pixels(part, device.type)) for part in parts])
    if len(latents) != int(counts.sum()):
        raise ValueError(
            f"{len(latents)} faces for {int(counts.sum())} wanted: were they rendered with --every {every}?"
        )
    frames = torch.tensor([clip.frames for clip in clips], device=device)
    pose = torch.from_numpy(np.concatenate([clip.poses for clip in clips])).to(device)
    condition = torch.from_numpy(face_condition(vae, corpus.idle)).float().to(device)
    row, first = counts.cumsum(0) - counts, frames.cumsum(0) - frames
    return LiveData(latents, condition, heard, row, first, frames, pose, clips, every)


@dataclass(frozen=True)
class Pair:
    """Chunks of 16, heard in both ways.

    whole, live [B, 16, 50, 384]; condition [B, 9, 16, h, w]; target [B, 4, 16, h, w], known [B, 16]: whether that is
    the frame's own and not that of the frame before it; row [B, 16] into latents.
    """

    whole: Tensor
    live: Tensor
    condition: Tensor
    target: Tensor
    known: Tensor
    row: Tensor


def draw_pair(data: LiveData, batch: int, generator: torch.Generator) -> Pair:
    """`batch` random chunks; half of them of neighbouring frames, half of frames up to five apart."""
    device = data.latents.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    clip = torch.multinomial(data.frames.float(), batch, True, generator=generator)
    count = data.frames[clip][:, None]
    reach = ((count - 1) // (CHUNK - 1)).clamp(max=5)
    stride = torch.where(uniform(batch, 1) < 0.5, 1, 1 + (uniform(batch, 1) * reach).long())
    begin = (uniform(batch, 1) * (count - stride * (CHUNK - 1))).long()
    frame = begin + stride * torch.arange(CHUNK, device=device)
    row = data.row[clip][:, None] + frame // data.every
    variant = (uniform(batch) * len(data.heard.live)).long()
    # Some chunks get no audio, and each frame loses some of its 50 tokens, so that the lips depend on all of them.
    kept = uniform(batch, CHUNK, CONTRACT.audio_tokens, 1) > TOKEN_DROPOUT
    kept = kept & (uniform(batch, 1, 1, 1) > NO_AUDIO)
    pose = data.pose[data.first[clip][:, None] + frame]
    return Pair(
        whole=data.heard.whole_windows(variant, clip, frame) * kept,
        live=data.heard.live_windows(variant, data.first[clip][:, None] + frame) * kept,
        condition=data.condition[pose].transpose(1, 2),
        target=data.latents[row].transpose(1, 2),
        known=frame % data.every == 0,
        row=row,
    )


def cut(chunks: Tensor, length: int, axis: int) -> Tensor:
    """Chunks of 16 along `axis` as chunks of `length`: [B, …, 16, …] to [B·16/length, …, length, …]."""
    return torch.stack(torch.split(chunks, length, axis), 1).flatten(0, 1)


def joined(chunks: Tensor, batch: int) -> Tensor:
    """The reverse of `cut` for latents: [B·16/k, 4, k, h, w] to [B, 4, 16, h, w]."""
    return torch.cat(chunks.reshape(batch, -1, *chunks.shape[1:]).unbind(1), 2)


@dataclass(frozen=True)
class Losses:
    """`latent` and `pixel` to the truth, mean of both ways of hearing; `latent_apart`, `pixel_apart`: of each other."""

    latent: Tensor
    pixel: Tensor
    latent_apart: Tensor
    pixel_apart: Tensor

    def total(self, consistency: float) -> Tensor:
        """`consistency` weighs the difference of the two against that to the truth."""
        return self.latent + 0.5 * self.pixel + consistency * (self.latent_apart + 0.5 * self.pixel_apart)

    def values(self) -> Tensor:
        """All four [4], detached."""
        return torch.stack([self.latent, self.pixel, self.latent_apart, self.pixel_apart]).detach()


class PairLoss:
    """Compares the predictions of a pair with the truth and with each other, in latents and in pixels.

    Pixels are L1 in the repainted region, weighted towards the lips, of `frames` frames of each batch. Only the rows of
    latents that the mask covers are decoded, because the upper face has no weight.
    """

    def __init__(self, corpus: Corpus, data: LiveData, vae: Vae, frames: int) -> None:
        self._device = device = data.latents.device.type
        self._truth = TruthFrames(corpus, data.clips, device)
        self._vae, self._frames = vae, frames
        side = data.latents.shape[-1]
        self._latent_weight = 0.15 + 0.85 * (1 - data.condition[0, 0].view(1, 1, 1, side, side))
        self._latent_weight = self._latent_weight / self._latent_weight.mean()
        weight = lip_weight(corpus.idle.shape[1]).to(device)
        self._top = max(0, int(weight.amax(1).nonzero()[0]) // 8 - 1)
        self._pixel_weight = weight[self._top * 8 :] / (weight.sum() * 3)

    def __call__(self, whole: Tensor, live: Tensor, pair: Pair, generator: torch.Generator) -> Losses:
        known = pair.known[:, None, :, None, None] / pair.known.float().mean()
        apart = ((whole - live).square() * self._latent_weight).mean()
        both = ((whole - pair.target).square() + (live - pair.target).square()) / 2
        latent = (both * self._latent_weight * known).mean()
        order = torch.rand(pair.known.shape, generator=generator, device=pair.known.device) + pair.known
        pick = order.flatten().topk(self._frames).indices
        with torch.autocast(self._device, torch.bfloat16, enabled=self._device == "cuda"):
            decoded = self._vae.decode(
                torch.cat([each.transpose(1, 2).flatten(0, 1)[pick, :, self._top :] for each in (whole, live)])
            )
        of_whole, of_live = decoded.float().chunk(2)
        truth = pixels(self._truth[pair.row.flatten()[pick]][:, self._top * 8 :], self._device)
        to_truth = (self._l1(of_whole, truth) + self._l1(of_live, truth)) / 2
        return Losses(latent, to_truth, apart, self._l1(of_whole, of_live))

    def _l1(self, one: Tensor, other: Tensor) -> Tensor:
        return ((one - other).abs() * self._pixel_weight).sum() / len(one)


class _OneLength(nn.Module):
    """The UNet for chunks of one length, in bfloat16 on a GPU. A module of its own, since a CUDA graph replaces it."""

    def __init__(self, unet: LatentSyncUNet, gpu: bool) -> None:
        super().__init__()
        self.unet, self.gpu = unet, gpu

    def forward(self, sample: Tensor, timestep: Tensor, audio: Tensor) -> Tensor:
        device = "cuda" if self.gpu else "cpu"
        with torch.autocast(device, torch.bfloat16, enabled=self.gpu, cache_enabled=False):
            predicted: Tensor = self.unet(sample, timestep, audio)
        return predicted.float()


def networks(unet: LatentSyncUNet, batch: int, side: int, device: str) -> tuple[Network, dict[int, Network]]:
    """The UNet for whole recordings, and for live speech by the length of its chunks.

    On a GPU each is a CUDA graph: the network is so small that starting its kernels would take most of a step, and
    compiling it for four shapes several minutes.
    """

    def one(length: int) -> Network:
        network = _OneLength(unet, device == "cuda")
        if device != "cuda":
            return network
        chunks = batch * CHUNK // length
        example = (
            torch.randn(chunks, 13, length, side, side, device=device),
            torch.randint(0, 1000, (chunks,), device=device),
            torch.randn(chunks, length, *CONTRACT.audio_shape, device=device),
        )
        return cast(Network, torch.cuda.make_graphed_callables(network, example))

    return one(CHUNK), {length: one(length) for length in LIVE_LENGTHS}


@dataclass(frozen=True)
class Schedule:
    """How long is trained, on what: it ends after `steps`, or after `seconds` where those are not enough."""

    steps: int
    seconds: float
    batch: int
    consistency: float


def train(
    unet: LatentSyncUNet, taught: Sequence[tuple[LiveData, PairLoss]], schedule: Schedule, seed: int, save: Path
) -> LatentSyncUNet:
    """Train `unet` and return its moving average; writes it to `save` every minute. Each step draws one of `taught`."""
    latents, batch = taught[0][0].latents, schedule.batch
    device, side = latents.device.type, latents.shape[-1]
    generator = torch.Generator(device).manual_seed(seed)  # on the device, so that no step waits for the host
    rng = np.random.default_rng(seed)
    average = copy.deepcopy(unet).eval().requires_grad_(False)
    whole_network, live_networks = networks(unet, batch, side, device)
    optimiser = torch.optim.AdamW(unet.parameters(), PEAK_RATE, (0.9, 0.99), weight_decay=0.05, fused=device == "cuda")
    alpha_bar = alphas_cumprod(SchedulerConfig(**SCHEDULER)).to(device)
    began = saved = time.monotonic()
    running = torch.zeros(4, device=device)
    for step in range(schedule.steps):
        progress = max(step / schedule.steps, (time.monotonic() - began) / schedule.seconds)
        if progress >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1, (step + 1) / 200) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.01)
        data, loss = taught[int(rng.integers(len(taught)))]
        pair = draw_pair(data, batch, generator)
        noisy, timestep = add_noise(pair.target, alpha_bar, generator)
        sample = torch.cat([noisy, pair.condition], 1)
        length = int(rng.choice(LIVE_LENGTHS, p=LIVE_SHARES))
        whole = whole_network(sample, timestep, pair.whole)
        live = joined(
            live_networks[length](
                cut(sample, length, 2), timestep.repeat_interleave(CHUNK // length), cut(pair.live, length, 1)
            ),
            batch,
        )
        losses = loss(whole, live, pair, generator)
        optimiser.zero_grad()
        torch.autograd.backward(losses.total(schedule.consistency))
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            keep = min(AVERAGE, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.parameters()), list(unet.parameters()), 1 - keep)
        running = running.lerp(losses.values(), max(0.01, 1 / (step + 1)))
        if step % 100 == 99:
            rate = (time.monotonic() - began) / (step + 1)
            shown = ", ".join(f"{value:.4f}" for value in running.tolist())
            print(f"step {step + 1} {progress:.1%} latent, pixel, and apart: {shown}; {rate:.3f} s", flush=True)
        if time.monotonic() - saved > 60:
            saved = time.monotonic()
            write(average, save)
    return average


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="of the same speech, said by other faces")
    parser.add_argument("out", type=Path, help="folder with vae.safetensors and unet.safetensors, which is replaced")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="holds whisper-tiny.en")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=60.0, help="ends earlier after so many; then it can't repeat")
    parser.add_argument("--batch", type=int, default=0, help="chunks of 16 frames; default: 24 on a GPU, 4 on a CPU")
    parser.add_argument("--variants", type=int, default=4, help="of the sound; each takes 40 MB a minute of speech")
    parser.add_argument("--every", type=int, default=1, help="the faces are those of every n-th frame")
    parser.add_argument("--consistency", type=float, default=2.0, help="weight of the likeness of live and whole")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(arguments.seed)
    vae, encoder = load_vae(arguments.out, device), load_encoder(arguments.checkpoints, device)
    ears = Ears(encoder, arguments.variants, arguments.seed, device)
    corpora = [Corpus.open(folder) for folder in arguments.data]
    data = [prepare(corpus, vae, ears.hear, arguments.every) for corpus in corpora]
    target = arguments.out / "unet.safetensors"
    unet = LatentSyncUNet.from_upstream({key: value.float() for key, value in load_file(target).items()}, **UNET)
    # torch's stub of Module.to leaves memory_format out.
    unet = unet.requires_grad_(True).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for each in data:
        print(json.dumps({"clips": len(each.clips), "frames": int(each.frames.sum()), "device": device}), flush=True)
    batch = arguments.batch or (24 if device == "cuda" else 4)
    schedule = Schedule(arguments.steps, 60 * arguments.minutes, batch, arguments.consistency)
    shown = 40 if device == "cuda" else 8
    taught = [(each, PairLoss(corpus, each, vae, shown)) for corpus, each in zip(corpora, data, strict=True)]
    write(train(unet, taught, schedule, arguments.seed, target), target)


if __name__ == "__main__":
    main()
