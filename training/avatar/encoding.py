"""How rendered clips become video."""

from __future__ import annotations

import shutil
from pathlib import Path

import imageio_ffmpeg

from training.avatar.motion import FPS
from training.avatar.projection import FRAME_SIZE

CRF = 12


def encoder(output: Path, crf: int = CRF) -> list[str]:
    """Command that reads raw RGB frames and writes H.264 in BT.709, the same bytes every time."""
    ffmpeg = shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{FRAME_SIZE}x{FRAME_SIZE}", "-r", str(FPS), "-i", "-"]
    colour = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    codec = ["-c:v", "libx264", "-preset", "slow", "-crf", str(crf), "-threads", "1"]
    convert = ["-vf", "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv420p"]
    exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1", "-movflags", "+faststart"]
    return [ffmpeg, "-v", "error", "-y", *source, *convert, *codec, *colour, *exact, "-an", str(output)]
