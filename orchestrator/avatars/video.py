"""Frames of a video at 25 frames/s, one after another, through an ffmpeg child."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from orchestrator.avatars.errors import VideoError
from processes.confinement import Confinement
from speech.audio.decoder import ffmpeg_binary
from speech.audio.frames import FPS

_LOG_TAIL = 300
_PROBE_TIMEOUT_S = 60
_MOST_PIXELS = 8192 * 4320
# Sixteen pictures of that size, which a decoder keeps at most; an hour is far more than the longest clip takes.
_CONFINEMENT = Confinement(memory_bytes=4 << 30, cpu_s=3600, file_bytes=1 << 20)
_DECODER_THREADS = 4

# Demuxers that read one file and nothing else: a playlist or a concat script could name any other file of this machine.
_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,mxf,nut,dv,gif,apng,webp_pipe,ivf,rm,wtv,yuv4mpegpipe,"
    "h264,hevc,m4v,av1,obu,png_pipe,jpeg_pipe,webp_pipe"
)
_DURATION = re.compile(r"^\s+Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", re.MULTILINE)
_VIDEO = re.compile(r"^\s+Stream #0:\d+.*?: Video: (.*)$", re.MULTILINE)
_SIZE = re.compile(r", (\d+)x(\d+)[ ,\[]")
_ALPHA = re.compile(r"\b(yuva\d\w*|rgba\w*|bgra\w*|argb|abgr|gbrap\w*|ya8|ya16\w*)\b")


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself: seconds and (width, height), where it knows, and if a picture can be transparent."""

    duration_s: float | None
    alpha: bool
    size: tuple[int, int] | None = None

    @property
    def frame_count(self) -> int | None:
        """About how many frames it has at 25 frames/s."""
        return None if self.duration_s is None else max(1, round(self.duration_s * FPS))


def video_info(video: Path) -> VideoInfo:
    """Reads a video's headers; raises `VideoError` when it has no pictures."""
    command = [*_input(video), "-hide_banner"]
    said = _said(command, video)
    streams = [line for line in _VIDEO.findall(said) if "(attached pic)" not in line]
    if not streams:
        reason = said.strip().splitlines()[-1] if "Input #0" not in said and said else ""
        raise _unreadable(video, reason or "it has no pictures")
    found = _SIZE.search(streams[0])
    size = None if found is None else (int(found[1]), int(found[2]))
    if size is not None and size[0] * size[1] > _MOST_PIXELS:
        raise VideoError(
            f"{video.name} has pictures of {size[0]}×{size[1]}: scale it down, at most 8192×4320 can be read"
        )
    duration = _DURATION.search(said)
    seconds = None
    if duration is not None:
        hours, minutes, rest = duration.groups()
        seconds = int(hours) * 3600 + int(minutes) * 60 + float(rest)
    return VideoInfo(seconds, _ALPHA.search(streams[0]) is not None, size)


def read_frames(
    video: Path, max_frames: int, max_height: int | None = None, size: tuple[int, int] | None = None
) -> Generator[NDArray[np.uint8], None, None]:
    """Yield a video's frames, RGB uint8 [H, W, 3] with even sides, at 25 frames/s; no more than one is held.

    They are upright (rotation in the metadata is applied), and transparent pictures are laid on black. Pictures higher
    than `max_height` are made smaller; `size` (width, height) scales to exactly that. Closing the iterator ends the
    child. Raises `VideoError` when the file is no video, or has more than `max_frames`.
    """
    info = video_info(video)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(_command(video, info, max_height, size), stdout=subprocess.PIPE, stderr=log)
        _CONFINEMENT.apply(process.pid)
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
                raise _unreadable(video, _tail(log) or "it has no frames")
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
            process.wait()


def without_still_ends(frames: Iterable[NDArray[np.uint8]]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The same frames, each with its number, without those at either end that repeat their neighbour.

    Where a clip turns, a picture that stands still for a few frames is seen as a stutter. A clip that is still from its
    first frame to its last becomes one frame.
    """
    before: NDArray[np.uint8] | None = None
    repeats, moved, number = 0, False, 0
    for frame in frames:
        if before is not None and np.array_equal(frame, before):
            repeats += 1
            continue
        if before is not None:
            for repeat in range(1 + repeats):
                if moved or repeat == repeats:
                    yield number + repeat, before
            number += 1 + repeats
            moved = True
        before, repeats = frame, 0
    if before is not None:
        yield number, before


def _unreadable(video: Path, reason: str) -> VideoError:
    # ffmpeg names the file with its path, which is the server's own where the video was sent to it.
    reason = reason.replace(f"file:{video}: ", "").replace(str(video), video.name)
    return VideoError(
        f"{video.name} is no video that can be read ({reason}): "
        "if players show it, convert it with `ffmpeg -i IN -c:v libx264 OUT.mp4`"
    )


def _said(command: list[str], video: Path) -> str:
    """What ffmpeg says on its standard error, the first megabyte of it."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        _CONFINEMENT.apply(process.pid)
        try:
            process.wait(_PROBE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise VideoError(f"{video.name} could not be read within {_PROBE_TIMEOUT_S} s: convert it to mp4") from None
        log.seek(0)
        return log.read().decode(errors="replace")


def _input(video: Path) -> list[str]:
    options = ["-nostdin", "-protocol_whitelist", "file,pipe", "-format_whitelist", _FORMATS]
    options += ["-threads", str(_DECODER_THREADS)]
    # With the protocol written out, no file name can be taken for one.
    return [ffmpeg_binary(), *options, "-i", f"file:{video}"]


def _command(video: Path, info: VideoInfo, max_height: int | None, size: tuple[int, int] | None) -> list[str]:
    filters = [f"fps={FPS}"]
    if info.alpha:
        filters.append("format=gbrap,premultiply=inplace=1")
    if size is not None:
        filters.append(f"scale={size[0]}:{size[1]}")
    elif max_height is not None:
        filters.append(f"scale=-2:'min({max_height},ih)'")
    # libx264 with 4:2:0 needs even sides.
    filters.append("crop=trunc(iw/2)*2:trunc(ih/2)*2")
    # swscale's quick conversion makes everything about one grey level darker.
    exact = ["-sws_flags", "accurate_rnd+full_chroma_int+bicubic"]
    # PPM says each picture's size in its own header. Cover art of a sound file is no video: 0:V leaves it out.
    output = ["-map", "0:V:0", "-vf", ",".join(filters), "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", *exact]
    program, *source = _input(video)
    # A stream may change its size on the way.
    limits = ["-hide_banner", "-loglevel", "error", "-max_pixels", str(_MOST_PIXELS)]
    return [program, *limits, *source, *output, "pipe:1"]


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
