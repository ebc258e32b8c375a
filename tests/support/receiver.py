"""Reads a recorded stream of numbered frames back: which frames came, when, and how far the sound is from them."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streaming.config import FPS, SAMPLE_RATE_HZ
from streaming.pattern import read_stamp

FFMPEG = "ffmpeg"
_LIMIT_S = 60.0
"""Turns a hang into a failure; nothing takes so long, also on a busy machine."""
_FINE = ("-enc_time_base:v", "1:90000")  # else ffmpeg rounds times to whole frames


@dataclass(frozen=True)
class Received:
    """Frame numbers in order of arrival, their timestamps in seconds, and beep minus flash in seconds."""

    numbers: list[int]
    pts_s: list[float]
    offsets_s: list[float]

    @property
    def missing(self) -> list[int]:
        """Numbers left out between the first and the last."""
        return sorted(set(range(self.numbers[0], self.numbers[-1] + 1)) - set(self.numbers))

    @property
    def out_of_turn(self) -> list[int]:
        """Numbers that are not above the one before: repeated, or out of order."""
        return [b for a, b in zip(self.numbers, self.numbers[1:], strict=False) if b <= a]


class Recording:
    """Records a live stream, packets as they are, until `stop` or until the stream ends."""

    def __init__(self, url: str, path: Path) -> None:
        probing = ["-analyzeduration", "1000000"]
        self._progress = path.with_suffix(".progress")
        told = ["-progress", str(self._progress), "-stats_period", "0.1"]
        copying = ["-i", url, "-c", "copy", "-copyts", str(path)]
        command = [FFMPEG, "-v", "error", "-nostdin", "-y", *told, *probing, *copying]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    async def more(self, seconds: float) -> None:
        """Waits until so much more of the stream is recorded: ffmpeg may take seconds to begin."""
        wanted = self._pictures() + round(seconds * FPS)
        async with asyncio.timeout(_LIMIT_S):
            while self._pictures() < wanted:
                assert self._process.poll() is None, "the stream has ended"
                await asyncio.sleep(0.05)

    def _pictures(self) -> int:
        """How many are recorded."""
        told = self._progress.read_text() if self._progress.exists() else ""
        counts = re.findall(r"^frame=\s*(\d+)$", told, re.MULTILINE)
        return int(counts[-1]) if counts else 0

    def wait(self) -> None:
        """Waits for the stream to end."""
        self._process.wait(_LIMIT_S)

    def stop(self) -> None:
        """Ends the recording."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(_LIMIT_S)


def read(path: Path, width: int, height: int) -> Received:
    """Decodes a recording with ffmpeg."""
    numbers, flashes = [], []
    luma = _decode(path, "-map", "0:v", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray")
    for frame in np.frombuffer(luma, np.uint8).reshape(-1, height, width):
        number, flash = read_stamp(frame)
        numbers.append(number)
        flashes.append(flash)
    pts = timestamps(path, "0:v")
    flash_times = [t for t, flash in zip(pts, flashes, strict=True) if flash]
    nearest = [min((beep - t for beep in _beeps(path)), key=abs, default=1.0) for t in flash_times]
    # A recording that begins or ends between a flash and its beep lacks the other half of that pair.
    offsets = [offset for t, offset in zip(flash_times, nearest, strict=True) if pts[0] + 0.5 < t < pts[-1] - 0.5]
    return Received(numbers, pts, offsets)


def _beeps(path: Path) -> list[float]:
    """Times at which a beep begins."""
    data = _decode(path, "-map", "0:a", "-f", "s16le")
    left = np.frombuffer(data, np.int16).reshape(-1, 2)[:, 0].astype(np.int32)
    at = np.flatnonzero(np.abs(left) > 5000)
    starts = at[np.r_[True, np.diff(at) > SAMPLE_RATE_HZ // 4]] if len(at) else at
    # From the timestamp of the audio frame that holds the sample: the stream may have a gap before it.
    times = timestamps(path, "0:a")
    samples = len(left) // len(times)
    return [times[s // samples] + s % samples / SAMPLE_RATE_HZ for s in starts]


def timestamps(path: Path, stream: str) -> list[float]:
    """Presentation times of the decoded frames of one stream."""
    data = _decode(path, "-map", stream, "-fps_mode", "passthrough", *_FINE, "-f", "framecrc")
    listing = data.decode().splitlines()
    numerator, denominator = next(line.split(":")[1].split("/") for line in listing if line.startswith("#tb 0"))
    rows = [line.split(",") for line in listing if not line.startswith("#")]
    return [int(row[2]) * int(numerator) / int(denominator) for row in rows]


def _decode(path: Path, *output: str) -> bytes:
    command = [FFMPEG, "-v", "error", "-nostdin", "-copyts", "-i", str(path), *output, "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout
