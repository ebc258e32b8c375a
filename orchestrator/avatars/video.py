"""Frames of a video at 25 frames/s, one after another, through an ffmpeg child."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from orchestrator.audio.decoder import ffmpeg_binary
from orchestrator.audio.frames import FPS
from orchestrator.avatars.errors import VideoError

_LOG_TAIL = 300


def read_frames(
    video: Path, max_frames: int, max_height: int | None = None
) -> Generator[NDArray[np.uint8], None, None]:
    """Yield a video's frames, RGB uint8 [H, W, 3] with even sides, at 25 frames/s; no more than one is held.

    Pictures higher than `max_height` are made smaller. Closing the iterator ends the child. Raises `VideoError` when
    the file is no video, or has more than `max_frames`.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(_command(video, max_height), stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        count = 0
        try:
            while (frame := _read_ppm(process.stdout)) is not None:
                count += 1
                if count > max_frames:
                    raise VideoError(
                        f"{video.name} is longer than {max_frames / FPS:g} s: cut it, the clip is repeated"
                    )
                yield frame
            if process.wait() != 0 or count == 0:
                raise VideoError(f"{video.name} is no video that can be read: {_tail(log) or 'it has no frames'}")
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
            process.wait()


def _command(video: Path, max_height: int | None) -> list[str]:
    # libx264 with 4:2:0 needs even sides.
    scale = f"scale=-2:'min({max_height},ih)'," if max_height is not None else ""
    filters = f"fps={FPS},{scale}crop=trunc(iw/2)*2:trunc(ih/2)*2"
    options = ["-hide_banner", "-nostdin", "-loglevel", "error", "-protocol_whitelist", "file,pipe"]
    # PPM says each picture's size in its own header, so the video need not be probed.
    output = ["-map", "0:v:0", "-vf", filters, "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"]
    return [ffmpeg_binary(), *options, "-i", f"file:{video}", *output]


def _read_ppm(stream: IO[bytes]) -> NDArray[np.uint8] | None:
    """The next picture of a stream of "P6\\n<width> <height>\\n255\\n<pixels>"; None at its end or where it is cut."""
    if stream.readline() != b"P6\n":
        return None
    width, height = (int(number) for number in stream.readline().split())
    stream.readline()
    pixels = stream.read(width * height * 3)
    if len(pixels) < width * height * 3:
        return None
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace").strip()[-_LOG_TAIL:]
