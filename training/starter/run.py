"""One run of a training: warm-up, a schedule over all runs, a moving average, and an end in time."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.starter.state import Progress

_SAVE_EVERY_S = 120.0


@dataclass(frozen=True)
class Budget:
    """Seconds of this run and of all runs, highest learning rate, most steps (None: as many as fit), warm-up."""

    run_s: float
    total_s: float
    rate: float
    most_steps: int | None = None
    warm_up_steps: int = 300


def backward(network: nn.Module, loss_of_step: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """What `run` asks for, of a loss that is computed anew in each step."""

    def step() -> Tensor:
        loss = loss_of_step()
        network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    return step


def run(
    network: nn.Module,
    gradients: Callable[[], Tensor],
    before: Progress,
    budget: Budget,
    save: Callable[[nn.Module, Progress], None],
    clock: Callable[[], float] = time.monotonic,
) -> tuple[nn.Module, Progress]:
    """Train `network`, in which `gradients` leaves those of a loss that it returns, new ones in each step.

    Returns the network's moving average and the progress of all runs. The learning rate falls along a cosine over the
    seconds of all runs, wherever a run ends. `save` is told every two minutes and at the end, so that a run that is cut
    off loses two minutes.
    """
    average = copy.deepcopy(network).eval().requires_grad_(False)
    trained: list[Tensor] = [p for p in network.parameters() if p.requires_grad]
    kept: list[Tensor] = [
        mean for mean, own in zip(average.parameters(), network.parameters(), strict=True) if own.requires_grad
    ]
    fused = all(parameter.is_cuda for parameter in trained)
    optimiser = torch.optim.AdamW(trained, lr=budget.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=fused)
    began = saved = clock()
    step, running = 0, before.loss

    def progress() -> Progress:
        return Progress(before.seconds + clock() - began, before.steps + step, running)

    while clock() - began < budget.run_s and (budget.most_steps is None or step < budget.most_steps):
        share = min(1.0, progress().seconds / budget.total_s)
        warm = min(1.0, (step + 1) / budget.warm_up_steps)
        for group in optimiser.param_groups:
            group["lr"] = budget.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        loss = gradients()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            # A new run's average begins with its weights, and forgets them as slowly as the run is long.
            torch._foreach_lerp_(kept, trained, 1 - min(0.999, (1 + step) / (10 + step)))
        if step % 20 == 1:  # seldom, for it waits for the device
            running = loss.item() if running == 0 else 0.8 * running + 0.2 * loss.item()
        if step % 100 == 0:
            now = progress()
            print(f"step {now.steps} of {now.seconds:.0f} s, loss {running:.4f}", flush=True)
        if clock() - saved > _SAVE_EVERY_S:
            saved = clock()
            save(average, progress())
    save(average, progress())
    return average, progress()
