"""Audio files of tests, and the programs that decode them."""

import os
import subprocess
import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech.audio.decoder import ffmpeg_binary
from tests.support.processes import descendants


def write_wav(path: Path, samples: NDArray[Any], rate: int = 16_000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def tone(seconds: float, rate: int = 16_000) -> NDArray[Any]:
    wave: NDArray[np.float64] = 8000 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return wave


def convert(source: Path, target: Path, *options: str) -> Path:
    subprocess.run([ffmpeg_binary(), "-v", "error", "-y", "-i", source, *options, target], check=True)
    return target


def children() -> list[int]:
    """Decoding children of this process; the tritonserver of other tests is none."""
    return [pid for pid, line in descendants(os.getpid()).items() if "-format_whitelist" in line]
