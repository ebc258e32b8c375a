"""A recording as it is spoken."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech.audio.decoder import ffmpeg_binary
from streaming.config import SAMPLE_RATE_HZ


def read_recording(path: Path) -> NDArray[np.int16]:
    """Mono samples int16 at 48 kHz; raises CalledProcessError for what can't be read."""
    source = [ffmpeg_binary(), "-v", "error", "-nostdin", "-i", f"file:{path}"]
    output = ["-ac", "1", "-ar", str(SAMPLE_RATE_HZ), "-f", "s16le", "pipe:1"]
    return np.frombuffer(subprocess.run([*source, *output], capture_output=True, check=True).stdout, np.int16)
