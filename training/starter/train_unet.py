"""Train the starter's UNet, one run of several.

    python -m training.starter.train_unet PEOPLE DATA STATE --minutes 8 --of 24

PEOPLE are takes that say sentences of DATA, STATE holds the VAE, which is frozen; unet.json and its parts are read
where they are, and written. `--stage one-step` comes last: it trains only what a single step does, from pure noise, on
what is seen: edges and texture at three scales.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentsync.contract import CONTRACT
from latentsync.denoising import alphas_cumprod
from latentsync.scheduler import SchedulerConfig
from latentsync.unet import LatentSyncUNet, UNetConfig, upstream_state_dict
from latentsync.vae import Vae, VaeType
from training.lip_measures import AT_THE_MOUTH
from training.starter import state
from training.starter.graphed import GraphedLoss
from training.starter.pictures import take_paths
from training.starter.run import Budget, backward, run
from training.starter.sizes import SIZES, Sizes
from training.starter.state import Progress
from training.starter.takes import Batch, Speech, Takes, draw_batch
from training.train_unet import add_noise
from training.train_vae import lip_weight, pixels
from training.write_checkpoint import SCHEDULER, load_encoder

NAME = "unet"
LAST = int(SCHEDULER["num_train_timesteps"]) - 1
"""The timestep of pure noise, at which sampling starts."""
STAGES = ("base", "one-step")
_OUTSIDE_MASK = 0.15


def load_vae(folder: Path, device: str) -> Vae:
    """The frozen VAE of a state; raises FileNotFoundError where it wasn't trained yet."""
    about, weights = state.about(folder, "vae"), state.load(folder, "vae")
    assert weights is not None
    config: Any = about["config"]
    vae = Vae.from_state_dict(weights, VaeType.TINY, float(str(about["scaling_factor"])), config)
    return vae.to(device).eval().requires_grad_(False)


class SeenLoss:
    """What a viewer sees of predicted latents: the repainted rows, decoded, of some of the frames."""

    def __init__(self, takes: Takes, vae: Vae, frames: int) -> None:
        """`frames` is how many of a batch are decoded."""
        self._takes, self._vae, self._frames = takes, vae, frames
        weight = lip_weight(takes.faces.shape[1]).to(takes.faces.device)
        scale = CONTRACT.pixels_per_latent
        self._top = max(0, int(weight.amax(1).nonzero()[0]) // scale - 1)
        self._weight = weight[self._top * scale :]

    def draw(self, row: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Which frames of rows [B, 16] to decode, [n], and what they should look like, [n, 3, h, R]."""
        rows = row.flatten()
        pick = torch.randperm(len(rows), generator=generator, device=rows.device)[: self._frames]
        return pick, pixels(self._takes.faces[rows[pick]][:, self._top * CONTRACT.pixels_per_latent :], str(row.device))

    def __call__(self, predicted: Tensor, pick: Tensor, truth: Tensor, edges: float) -> Tensor:
        """L1 in the mask, weighted towards the lips, and `edges` times L1 of what each scale adds."""
        flat = predicted.transpose(1, 2).flatten(0, 1)
        error = self._vae.decode(flat[pick, :, self._top :]) - truth
        share = self._weight / self._weight.mean()
        loss = (error.abs() * share).mean()
        weighted = error * share
        for _ in range(3 if edges else 0):
            coarse = F.avg_pool2d(weighted, 2)
            loss = loss + edges * (weighted - F.interpolate(coarse, scale_factor=2.0)).abs().mean()
            weighted = coarse
        return loss


def train(
    sizes: Sizes,
    draw: Callable[[torch.Generator], Batch],
    seen: SeenLoss,
    folder: Path,
    budget: Budget,
    device: str,
    stage: str = "base",
    seed: int = 0,
) -> nn.Module:
    """Train the UNet from `folder`'s state, or from nothing, and leave the new state there; returns its average."""
    gpu = device == "cuda"
    if (weights := state.load(folder, NAME)) is not None:
        unet = LatentSyncUNet.from_upstream(weights, **sizes.unet)
    else:
        unet = LatentSyncUNet(UNetConfig(**sizes.unet))
    # torch's stub of Module.to leaves memory_format out.
    unet = unet.requires_grad_(True).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    generator = torch.Generator(device).manual_seed(seed)
    alpha_bar = alphas_cumprod(SchedulerConfig(**SCHEDULER)).to(device)
    one_step = stage == "one-step"

    def inputs() -> tuple[Tensor, ...]:
        batch = draw(generator)
        if one_step:
            shape = (len(batch.target), 4, 1, *batch.target.shape[-2:])
            noisy = torch.randn(shape, generator=generator, device=device).expand_as(batch.target)
            timestep = torch.full((len(noisy),), LAST, device=device)
        else:
            noisy, timestep = add_noise(batch.target, alpha_bar, generator)
        given = torch.cat([noisy, batch.condition], 1)
        return given, timestep, batch.audio, batch.target, *seen.draw(batch.row, generator)

    # A graph can't hold what autocast keeps of weights from one call to the next.
    def half() -> torch.autocast:
        return torch.autocast(device, torch.bfloat16, enabled=gpu, cache_enabled=False)

    def loss_of(given: Tensor, timestep: Tensor, audio: Tensor, target: Tensor, pick: Tensor, truth: Tensor) -> Tensor:
        with half():
            predicted = unet(given, timestep, audio).float()
        weight = _OUTSIDE_MASK + (1 - _OUTSIDE_MASK) * (1 - given[0, 4, 0])
        latent = ((predicted - target).square() * weight).mean() / weight.mean()
        with half():
            picture = seen(predicted, pick, truth, 0.5 if one_step else 0.0).float()
        loss: Tensor = latent * (0.3 if one_step else 1.0) + 0.5 * picture
        return loss

    def save(average: nn.Module, progress: Progress) -> None:
        assert isinstance(average, LatentSyncUNet)
        state.save(folder, NAME, upstream_state_dict(average), progress, stage=stage)

    before = state.Progress.read(folder, NAME)
    if one_step and state.about(folder, NAME).get("stage") != stage:
        before = Progress(0.0, before.steps)  # a stage has a schedule of its own
    if gpu:
        graphed = GraphedLoss(unet, loss_of, inputs())
        average, progress = run(unet, lambda: graphed(*inputs()), before, budget, save)
    else:
        average, progress = run(unet, backward(unet, lambda: loss_of(*inputs())), before, budget, save)
    print(f"{progress.steps} steps, {progress.seconds:.0f} s in all runs, loss {progress.loss:.4f}", flush=True)
    return average


@torch.inference_mode()
def psnr_of_one_step_db(
    unet: nn.Module, vae: Vae, takes: Takes, speech: Speech, device: str, batches: int = 8
) -> dict[str, float]:
    """PSNR at the mouth of chunks generated in one step: with their speech, and of the resting face left as it is.

    What the resting face gives is what a UNet that does nothing would reach.
    """
    generator = torch.Generator(device).manual_seed(1)
    lips = (lip_weight(takes.faces.shape[1]) > AT_THE_MOUTH).to(device)
    squares: dict[str, list[Tensor]] = {"spoken_db": [], "resting_db": []}
    for _ in range(batches):
        batch = draw_batch(takes, speech, 4, generator)
        noise = torch.randn(4, 4, 1, *batch.target.shape[-2:], generator=generator, device=device)
        timestep = torch.full((4,), LAST, device=device)
        spoken = unet(torch.cat([noise.expand_as(batch.target), batch.condition], 1), timestep, batch.audio)
        truth = pixels(takes.faces[batch.row.flatten()], device)
        for name, latents in (("spoken_db", spoken), ("resting_db", batch.condition[:, 5:])):
            made = vae.decode(latents.float().transpose(1, 2).flatten(0, 1))
            squares[name].append(((made - truth) / 2)[:, :, lips].square().mean())
    return {name: round(float(-10 * torch.stack(v).mean().log10()), 2) for name, v in squares.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("state", type=Path)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="holds whisper-tiny.en")
    parser.add_argument("--size", choices=SIZES, default="starter")
    parser.add_argument("--stage", choices=STAGES, default="base")
    parser.add_argument("--minutes", type=float, required=True, help="of this run")
    parser.add_argument("--of", type=float, required=True, help="minutes of all runs of this stage together")
    parser.add_argument("--batch", type=int, default=0, help="chunks of 16 frames; default: 32 on a GPU, 2 on a CPU")
    parser.add_argument("--variants", type=int, default=4, help="of a clip's audio")
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=0, help="another one for each run")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    gpu = device == "cuda"
    torch.manual_seed(arguments.seed)
    vae = load_vae(arguments.state, device)
    paths, held_out = take_paths(arguments.people), take_paths(arguments.people, held_out=True)
    clips = [str(np.load(path)["clip"]) for path in (*paths, *held_out)]
    encoder = load_encoder(arguments.checkpoints, device)
    speech = Speech.load(arguments.data, clips, encoder, arguments.variants, arguments.seed, device)
    takes = Takes.load(paths, vae, speech, device)
    print(f"{len(takes.frames)} takes, {len(takes.faces)} frames, {device}", flush=True)
    batch = arguments.batch or (32 if gpu else 2)
    rate = arguments.rate / 4 if arguments.stage == "one-step" else arguments.rate
    unet = train(
        SIZES[arguments.size],
        lambda generator: draw_batch(takes, speech, batch, generator),
        SeenLoss(takes, vae, 64 if gpu else 4),
        arguments.state,
        Budget(60 * arguments.minutes, 60 * arguments.of, rate),
        device,
        arguments.stage,
        arguments.seed,
    )
    held = Takes.load(held_out, vae, speech, device)
    print(json.dumps(psnr_of_one_step_db(unet, vae, held, speech, device)))


if __name__ == "__main__":
    main()
