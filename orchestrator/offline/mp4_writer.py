"""Frames and their audio written to an mp4 by an ffmpeg child; the file appears whole or not at all."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from latentsync.sound import SOUND_RATE_HZ
from speech.audio.decoder import ffmpeg_binary
from speech.audio.frames import FPS

_LOG_TAIL = 500


class EncodingFailed(RuntimeError):
    """ffmpeg could not write the file; the message holds its reason."""


@dataclass(frozen=True)
class Mp4Options:
    """x264's quality (lower is better), its preset, and its threads (0: as many as it likes)."""

    crf: int = 18
    preset: str = "veryfast"
    threads: int = 0


class Mp4Writer:
    """Writes one file; blocking, so use it in a thread. Leaving the context by an error removes what was written."""

    def __init__(
        self, output: Path, size: tuple[int, int], sound: NDArray[np.int16], options: Mp4Options | None = None
    ) -> None:
        """Start ffmpeg for frames of `size` (width, height, both even) and `sound` int16 [frames, 1920] at 48 kHz.

        Raises `EncodingFailed` when the output's folder is missing.
        """
        if not output.parent.is_dir():
            raise EncodingFailed(f"{output.parent}: there is no such folder")
        self._output = output
        self._partial = output.with_name(f".{output.stem}.partial.mp4")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - both are closed in __exit__
        self._audio = tempfile.NamedTemporaryFile(suffix=".pcm")  # noqa: SIM115
        self._audio.write(np.ascontiguousarray(sound, "<i2").data)
        self._audio.flush()
        command = _command(self._partial, size, self._audio.name, options or Mp4Options())
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log)

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._close_pipe()
        self._partial.unlink(missing_ok=True)
        self._audio.close()
        self._log.close()

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Hand over the next frame, RGB uint8 [H, W, 3]; raises `EncodingFailed` when ffmpeg has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(frame.data)
        except BrokenPipeError:
            self._process.wait()
            raise EncodingFailed(f"{self._output}: {self._reason()}") from None

    def finish(self) -> None:
        """Wait for the end of the encoding and put the file in its place; raises `EncodingFailed`."""
        self._close_pipe()
        if self._process.wait() != 0:
            raise EncodingFailed(f"{self._output}: {self._reason()}")
        self._partial.replace(self._output)

    def _close_pipe(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # ffmpeg's status says it better
            self._process.stdin.close()

    def _reason(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip()[-_LOG_TAIL:] or f"status {self._process.returncode}"


def _command(output: Path, size: tuple[int, int], audio: str, options: Mp4Options) -> list[str]:
    width, height = size
    picture = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=FPS)
    sound = ffmpeg.input(f"file:{audio}", format="s16le", ar=SOUND_RATE_HZ, ac=1)
    # Written as the stream is: BT.709, and marked so.
    video = picture.video.filter("scale", out_color_matrix="bt709", out_range="tv").filter("format", "yuv420p")
    marks = {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709", "color_range": "tv"}
    encoders = {"c:v": "libx264", "preset": options.preset, "crf": options.crf, "threads:v": options.threads}
    written = ffmpeg.output(
        video, sound.audio, f"file:{output}", format="mp4", movflags="+faststart",
        **encoders, **marks, **{"c:a": "aac", "b:a": "128k"},
    )  # fmt: skip
    written = written.global_args("-hide_banner", "-nostdin", "-nostats", "-loglevel", "error", "-y")
    arguments: list[str] = written.compile(cmd=ffmpeg_binary())
    return arguments
