"""What encoding costs on this machine: measured once with a short synthetic clip, and kept in a file."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from processes.tethered import tethered
from streaming.config import FPS

PRESETS = ("medium", "fast", "faster", "veryfast", "superfast", "ultrafast")
_WIDTH, _HEIGHT = 640, 360
_SHORT, _LONG = 10, 50
"""Frames of two runs; their difference leaves out what ffmpeg's start costs."""
_HEIGHTS = (1920, 1440, 1280, 1080, 960, 854, 720, 640, 540, 480, 360, 240)
_ROOM = 0.7
"""Share of a core that an encoder, which has one thread, may take: pictures differ, and others need time too."""
_NICENESS = 10

Started = Callable[[subprocess.Popen[bytes]], None]

_log = logging.getLogger(__name__)


class EncoderCostError(RuntimeError):
    """ffmpeg could not encode the synthetic clip; the message has its last words."""


@dataclass(frozen=True)
class EncoderCost:
    """Core seconds for a million pixels, from RGB to H.264, by x264's preset."""

    core_s_per_megapixel: Mapping[str, float]

    def cores(self, preset: str, size: tuple[int, int]) -> float | None:
        """Cores that a channel with pictures of this size keeps busy; None for a preset that was not measured."""
        cost = self.core_s_per_megapixel.get(preset)
        return None if cost is None else cost * size[0] * size[1] / 1e6 * FPS

    def fits(self, preset: str, size: tuple[int, int]) -> bool:
        """Whether one thread encodes this in time, with room to spare; True where it isn't known."""
        cores = self.cores(preset, size)
        return cores is None or cores <= _ROOM

    def suggestion(self, preset: str, size: tuple[int, int]) -> tuple[int, int] | None:
        """The size itself where it fits, or else the largest usual one of this shape that does; None if none does."""
        if self.fits(preset, size):
            return size
        width, height = size
        smaller = ((2 * round(width * h / height / 2), h) for h in _HEIGHTS if h < height)
        return next((each for each in smaller if self.fits(preset, each)), None)

    def sentence(self, preset: str, size: tuple[int, int]) -> str:
        """What a size costs, and a size that fits where this one doesn't."""
        cores = self.cores(preset, size)
        if cores is None:
            return f"x264's {preset} was not measured on this machine"
        said = f"encoding {_text(size)} takes about {cores:.2f} cores of this machine with x264's {preset}"
        if self.fits(preset, size):
            return said
        better = self.suggestion(preset, size)
        advice = f"{_text(better)} would take {self.cores(preset, better):.2f}" if better else "no usual size does"
        return f"{said}, more than one thread does in time: {advice}"


def known_cost(file: Path, ffmpeg: str) -> EncoderCost | None:
    """What was measured on this machine with this ffmpeg; None where nothing was."""
    try:
        content = json.loads(file.read_text())
        return EncoderCost(content["core_s_per_megapixel"]) if content["machine"] == _machine(ffmpeg) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none yet, or damaged: it is measured again


def measured_cost(file: Path, ffmpeg: str, started: Started = lambda process: None) -> EncoderCost:
    """What is known, or else is measured now, in seconds, and written to `file`; raises EncoderCostError, OSError.

    `started` gets each ffmpeg that runs; one that is killed ends the measurement with EncoderCostError.
    """
    known = known_cost(file, ffmpeg)
    if known is not None:
        return known
    cost = measure(ffmpeg, started)
    content = {"machine": _machine(ffmpeg), "core_s_per_megapixel": dict(cost.core_s_per_megapixel)}
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.part")
    partial.write_text(json.dumps(content, indent=2))
    partial.replace(file)
    _log.info("encoder measured, core seconds for a million pixels: %s", content["core_s_per_megapixel"])
    return cost


def measure(ffmpeg: str, started: Started = lambda process: None) -> EncoderCost:
    """Encode a short synthetic clip with each preset, in one thread; raises EncoderCostError, OSError."""
    megapixels = (_LONG - _SHORT) * _WIDTH * _HEIGHT / 1e6
    with tempfile.NamedTemporaryFile() as clip:
        clip.write(_clip().tobytes())
        clip.flush()
        costs = {}
        for preset in PRESETS:
            short, long = (_core_s(ffmpeg, clip.name, preset, frames, started) for frames in (_SHORT, _LONG))
            costs[preset] = round(max(long - short, 0.0) / megapixels, 5)
        return EncoderCost(costs)


def _clip() -> NDArray[np.uint8]:
    """Something like a person before a wall: a still gradient with grain, and a textured square that moves a little."""
    random = np.random.default_rng(0)
    wall = np.linspace(60, 160, _WIDTH)[None, :, None] + np.zeros((_HEIGHT, 1, 3))
    texture = random.integers(0, 80, (_HEIGHT // 2, _HEIGHT // 2, 3))
    frames = np.empty((_LONG, _HEIGHT, _WIDTH, 3), np.uint8)
    for number, frame in enumerate(frames):
        picture = wall + random.integers(0, 4, wall.shape)
        top, left = _HEIGHT // 4 + number % 5, _WIDTH // 3 + number % 7
        picture[top : top + _HEIGHT // 2, left : left + _HEIGHT // 2] = 80 + texture
        frame[...] = picture
    return frames


def _core_s(ffmpeg: str, clip: str, preset: str, frames: int, started: Started) -> float:
    command = [
        ffmpeg, "-v", "error", "-nostdin", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{_WIDTH}x{_HEIGHT}",
        "-r", str(FPS), "-i", clip, "-frames:v", str(frames), "-filter_threads", "1",
        "-vf", "scale=flags=fast_bilinear,format=yuv420p",
        "-c:v", "libx264", "-profile:v", "baseline", "-preset", preset, "-tune", "zerolatency", "-bf", "0",
        "-g", str(FPS), "-b:v", "1000k", "-threads", "1", "-f", "null", "-",
    ]  # fmt: skip
    process = subprocess.Popen(tethered(*command), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
    started(process)
    assert process.stderr is not None
    with process.stderr:
        said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise EncoderCostError(f"{ffmpeg} can't encode with preset {preset}: {said.decode(errors='replace')[-300:]}")
    return usage.ru_utime + usage.ru_stime


def _machine(ffmpeg: str) -> dict[str, str | int]:
    """What the figures depend on."""
    binary = Path(ffmpeg).stat()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {"ffmpeg": ffmpeg, "bytes": binary.st_size, "changed_ns": binary.st_mtime_ns, "processor": model}


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
