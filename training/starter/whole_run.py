"""All stages in one run, on a GPU that nobody else needs:

    python -m training.starter.whole_run DATA STATE --people FOLDER --photographs PHOTOS --seconds 1250

People are rendered while the networks train, and learned from as they come: first short takes for the VAE, then
speaking ones, from which both learn. Each stage ends at its share of the seconds, whatever it has reached. Each leaves
its state in STATE, as the single programs do, its figures in STATE/figures.json, and a picture of people it never saw.

With --onward CHECKPOINT only its UNet is trained, in its last stage, and only people are rendered who speak.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from latentsync.vae import Vae
from training.people.pace import Pace
from training.people.pool import Job, RenderPool
from training.people.render import Options
from training.starter import state
from training.starter.hearing import hear, heard
from training.starter.look import unet_sheet, vae_sheet
from training.starter.pictures import PictureSampler, faces_of, photographs
from training.starter.run import Budget
from training.starter.sizes import SIZES, Sizes
from training.starter.takes import Batch, Speech, Takes, draw_batch
from training.starter.train_unet import SeenLoss, load_vae, psnr_of_one_step_db
from training.starter.train_unet import train as train_unet
from training.starter.train_vae import psnr_in_mask_db
from training.starter.train_vae import train as train_vae
from training.starter.write_checkpoint import read

_LOOK_EVERY_STEPS = 40
_TAKES_AT_ONCE = 8
_MOST_HELD_OUT = 24
# A VAE that hasn't begun to draw by then never will: it starts again, slower.
_TRIAL_S = 45.0
_HOPELESS_DB = 19.0


@dataclass(frozen=True)
class Plan:
    """When stages end and how much is rendered; ends are shares of the run's seconds."""

    seconds: float
    first_takes: int = 120
    vae_takes: int = 240
    vae_frames: int = 8
    speaking_takes: int = 2000
    speaking_frames: int = 48
    vae_ends: float = 0.35
    base_ends: float = 0.60
    one_step_ends: float = 0.96
    rendering_ends: float = 0.80
    openness: float = 1.0

    def jobs(self, seed: int, resolution: int) -> list[Job]:
        """The VAE's people first, then those who speak; each is somebody else."""
        short = Options(resolution, self.vae_frames, True)
        # How wide somebody speaks can't be seen from a face at rest: learned from all widths, lips are a blur of them.
        long = Options(resolution, self.speaking_frames, True, self.openness)
        jobs = [Job(seed + i, 0, short, False) for i in range(self.vae_takes)]
        return jobs + [Job(seed + self.vae_takes + i, 0, long, True) for i in range(self.speaking_takes)]


class Arrivals:
    """Takes of a folder as they appear in it; every `held_out_every`-th person is held out."""

    def __init__(self, folder: Path, held_out_every: int) -> None:
        self._folder, self._every = folder, held_out_every
        self._known: set[Path] = set()
        self.trained: list[Path] = []
        self.held_out: list[Path] = []

    def look(self) -> None:
        """Find what is new."""
        for path in sorted(set(self._folder.glob("*.npz")) - self._known):
            self._known.add(path)
            (self.held_out if int(path.name.split("-")[0]) % self._every == 0 else self.trained).append(path)


class Run:
    """What the stages share: the clock, the renderers, and what has arrived."""

    def __init__(self, plan: Plan, pool: RenderPool, arrivals: Arrivals, folder: Path, device: str) -> None:
        self.plan, self.pool, self.arrivals, self.folder, self.device = plan, pool, arrivals, folder, device
        self._began = time.monotonic()
        self._figures: dict[str, Any] = {}
        self.taken = 0
        """How many of the takes that arrived the training knows."""

    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def left_until(self, share: float) -> float:
        """Seconds until this share of the run has passed; at least one."""
        return max(1.0, share * self.plan.seconds - self.elapsed())

    def say(self, text: str) -> None:
        print(f"[{self.elapsed():.0f} s] {text}", flush=True)

    def note(self, **figures: object) -> None:
        """Keep figures of a stage."""
        self.say(json.dumps(figures))
        self._figures |= figures | {"elapsed_s": round(self.elapsed()), "takes": len(self.arrivals.trained)}
        (self.folder / "figures.json").write_text(json.dumps(self._figures, indent=1))

    def wait_for_people(self) -> None:
        """Until the first takes are there, a held-out one too; raises RuntimeError where none can come."""
        wanted = self.plan.first_takes
        while not (len(self.arrivals.trained) >= wanted and self.arrivals.held_out):
            if self.arrivals.trained and self.arrivals.held_out and self.elapsed() > 0.12 * self.plan.seconds:
                return
            time.sleep(0.5)
            self.arrivals.look()
            if not self.pool.alive():
                raise RuntimeError("every renderer ended without takes enough: their errors are above")

    def each_step(self, take: Callable[[list[Path]], None]) -> Callable[[], None]:
        """To call before each step: paces the renderers, and hands new takes to `take` a few at a time."""
        pace = Pace(self.pool.allow, self.pool.processes, share=0.6)
        steps = itertools.count()

        def step() -> None:
            if self.elapsed() < self.plan.rendering_ends * self.plan.seconds:
                pace.step()
            elif self.pool.allowed:
                self.pool.allow(0)
            if next(steps) % _LOOK_EVERY_STEPS:
                return
            self.arrivals.look()
            new = self.arrivals.trained[self.taken : self.taken + _TAKES_AT_ONCE]
            self.taken += len(new)
            if new:
                take(new)
            if self.taken % 50 < len(new):
                waiting = len(self.arrivals.trained) - self.taken
                self.say(
                    f"{self.taken} takes, {waiting} waiting, {pace.running} of {self.pool.alive()} renderers go on"
                )

        return step


def vae_stage(run: Run, sizes: Sizes, photos: list[NDArray[np.uint8]], batch: int, crop: int, rate: float) -> None:
    """Wait for the first people, and train the VAE."""
    run.wait_for_people()
    first = list(run.arrivals.trained)
    run.say(f"VAE begins with {len(first)} takes, {len(photos)} photographs, {run.device}")
    sample = PictureSampler(faces_of(first, 2), photos, batch, crop, run.device, 0)
    run.taken = len(first)
    step = run.each_step(lambda new: sample.add(faces_of(new, 2)))

    def draw() -> Any:
        step()
        return sample()

    def held_out_db(vae: Any) -> float:
        run.arrivals.look()
        faces = faces_of(run.arrivals.held_out[:_MOST_HELD_OUT], 4)
        vae_sheet(run.folder / "vae.jpg", vae, faces, run.device)
        return psnr_in_mask_db(vae, faces, run.device)

    seconds = run.left_until(run.plan.vae_ends)
    trial = min(_TRIAL_S, seconds / 4)
    while True:
        vae = train_vae(sizes, draw, run.folder, Budget(trial, seconds, rate), run.device)
        decibels = held_out_db(vae)
        run.note(vae_after_trial_db=round(decibels, 2), rate=rate)
        if decibels > _HOPELESS_DB or run.left_until(run.plan.vae_ends) < 3 * trial:
            break
        (run.folder / "vae.json").unlink()
        rate *= 0.4
    left = run.left_until(run.plan.vae_ends)
    done = state.Progress.read(run.folder, "vae").seconds
    vae = train_vae(sizes, draw, run.folder, Budget(left, done + left, rate), run.device)
    run.note(held_out_people_db=round(held_out_db(vae), 2), faces=len(sample))


def unet_stages(
    run: Run,
    sizes: Sizes,
    vae: Vae,
    speech: Speech,
    batch: int,
    decoded: int,
    stages: Sequence[tuple[str, float, float]],
) -> None:
    """Train the UNet on the takes that have arrived and still arrive; a stage has its end and its learning rate."""
    run.arrivals.look()
    run.taken = len(run.arrivals.trained)
    speaking = [path for path in run.arrivals.trained if _speaks(path)]
    variety = torch.Generator(run.device).manual_seed(1)
    takes = Takes.load(speaking, vae, speech, run.device, variety)
    held = Takes.load([p for p in run.arrivals.held_out if _speaks(p)][:_MOST_HELD_OUT], vae, speech, run.device)
    run.say(f"UNet begins with {len(takes.frames)} takes, {len(held.frames)} held out")
    seen = SeenLoss(takes, vae, decoded)
    for stage, ends, speed in stages:
        step = run.each_step(lambda new: _add(takes, new, vae, speech, run.device, variety))

        def draw(generator: torch.Generator, step: Callable[[], None] = step) -> Batch:
            step()
            return draw_batch(takes, speech, batch, generator)

        left = run.left_until(ends)
        unet = train_unet(sizes, draw, seen, run.folder, Budget(left, left, speed), run.device, stage)
        figures = psnr_of_one_step_db(unet, vae, held, speech, run.device)
        run.note(**{f"{stage}: {name}": value for name, value in figures.items()}, speaking_takes=len(takes.frames))
        unet_sheet(run.folder / f"unet-{stage}.jpg", unet, vae, held, speech)


def _speaks(path: Path) -> bool:
    with np.load(path) as take:
        return bool(str(take["clip"]))


def _add(takes: Takes, new: list[Path], vae: Vae, speech: Speech, device: str, variety: torch.Generator) -> None:
    if speaking := [path for path in new if _speaks(path)]:
        takes.add(Takes.load(speaking, vae, speech, device, variety))


def _options() -> Iterator[tuple[str, type, object, str]]:
    yield "--vae-takes", int, Plan.vae_takes, "short takes for the VAE"
    yield "--vae-frames", int, Plan.vae_frames, "frames of one"
    yield "--first-takes", int, Plan.first_takes, "how many of them the VAE waits for"
    yield "--speaking-takes", int, Plan.speaking_takes, "at most"
    yield "--speaking-frames", int, Plan.speaking_frames, "frames of one"
    yield "--processes", int, 14, "that render"
    yield "--seed", int, 20_000, "number of the first person"
    yield "--held-out-every", int, 20, "every n-th person isn't trained on"
    yield "--variants", int, 3, "of a clip's audio"
    yield "--vae-batch", int, 128, "pictures of a step"
    yield "--unet-batch", int, 32, "chunks of a step"
    yield "--decoded", int, 64, "frames of a step whose pixels are compared"
    yield "--crop", int, 128, "side of the VAE's pictures"
    yield "--vae-rate", float, 6e-4, "highest learning rate"
    yield "--unet-rate", float, 8e-4, "highest learning rate"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("state", type=Path)
    parser.add_argument("--people", type=Path, required=True, help="where the rendered takes go")
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="holds whisper-tiny.en")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--onward", type=Path, metavar="CHECKPOINT", help="whose UNet is trained further")
    parser.add_argument("--size", choices=SIZES, default="starter")
    for name, kind, default, text in _options():
        parser.add_argument(name, type=kind, default=default, help=f"{text} (default {default})")
    a = parser.parse_args()
    sizes = SIZES[a.size]
    onward: Path | None = a.onward
    plan = Plan(
        a.seconds, a.first_takes, 0 if onward else a.vae_takes, a.vae_frames, a.speaking_takes, a.speaking_frames
    )
    a.state.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    pool = RenderPool(a.people, plan.jobs(a.seed, sizes.resolution), a.data, a.processes)
    features = a.state / "features.pt"
    # A process begun anew: importing torch may touch CUDA, which a fork doesn't survive.
    context = multiprocessing.get_context("spawn")
    hearing = context.Process(target=hear, args=(a.data, a.checkpoints, features, a.variants))
    hearing.start()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(a.seed)
    torch.backends.cudnn.benchmark = True
    run = Run(plan, pool, Arrivals(a.people, a.held_out_every), a.state, device)
    try:
        last = ("one-step", plan.one_step_ends, a.unet_rate / 3)
        stages = [last] if onward else [("base", plan.base_ends, a.unet_rate), last]
        if onward:
            read(onward, a.state)
            run.wait_for_people()
        else:
            vae_stage(run, sizes, photographs(a.photographs), a.vae_batch, a.crop, a.vae_rate)
        hearing.join()
        if hearing.exitcode:
            raise RuntimeError("the speech couldn't be heard: its error is above")
        speech = heard(features, device)
        unet_stages(run, sizes, load_vae(a.state, device), speech, a.unet_batch, a.decoded, stages)
    finally:
        pool.stop()
    run.say("done")


if __name__ == "__main__":
    main()
