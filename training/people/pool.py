"""Processes that render takes beside a training, as many at a time as it can bear."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from training.people.render import Options, write_take
from training.people.renderer import Studio
from training.people.speech import SpeechData

_LOOKS_AGAIN_S = 0.1


@dataclass(frozen=True)
class Job:
    """A take to render: the person's number, the take's, and whether it says something of the speech data."""

    seed: int
    number: int
    options: Options
    speaks: bool


class RenderPool:
    """Renders jobs in their order. Start it before CUDA is touched: its processes are forks, and CUDA survives none."""

    def __init__(self, out: Path, jobs: Sequence[Job], speech: Path, processes: int) -> None:
        out.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("fork")
        self.processes = processes
        self._allowed, self._next = context.Value("i", processes), context.Value("i", 0)
        self._workers = [
            context.Process(target=_work, args=(which, self._allowed, self._next, out, jobs, speech), daemon=True)
            for which in range(processes)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def allowed(self) -> int:
        """How many processes may begin another take."""
        return int(self._allowed.value)

    def allow(self, processes: int) -> None:
        """From each process's next take on, only so many render."""
        self._allowed.value = max(0, min(processes, self.processes))

    def alive(self) -> int:
        """Processes that neither failed nor ran out of jobs."""
        return sum(worker.is_alive() for worker in self._workers)

    def stop(self) -> None:
        """End all processes; takes that aren't whole are lost."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join()


def _work(which: int, allowed: Any, following: Any, out: Path, jobs: Sequence[Job], speech: Path) -> None:
    cv2.setNumThreads(1)
    studio, data = Studio(), SpeechData(speech)
    while True:
        if which >= allowed.value:
            time.sleep(_LOOKS_AGAIN_S)
            continue
        with following.get_lock():
            at = following.value
            following.value += 1
        if at >= len(jobs):
            return
        job = jobs[at]
        write_take(studio, out, job.seed, job.number, data if job.speaks else None, job.options)
