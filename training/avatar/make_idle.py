"""Render the demo avatar's idle clip: `python -m training.avatar.make_idle [output.mp4]`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg

from training.avatar.motion import FPS, IDLE_FRAMES
from training.avatar.projection import FRAME_SIZE
from training.avatar.renderer import Renderer

OUTPUT = Path(__file__).parents[2] / "checkpoints" / "demo" / "avatar" / "idle.mp4"
CRF = 12


def encoder(output: Path) -> list[str]:
    """Command that reads raw RGB frames and writes H.264 in BT.709, the same bytes every time."""
    ffmpeg = shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{FRAME_SIZE}x{FRAME_SIZE}", "-r", str(FPS), "-i", "-"]
    colour = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    codec = ["-c:v", "libx264", "-preset", "slow", "-crf", str(CRF), "-threads", "1"]
    convert = ["-vf", "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv420p"]
    exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1", "-movflags", "+faststart"]
    return [ffmpeg, "-v", "error", "-y", *source, *convert, *codec, *colour, *exact, "-an", str(output)]


def main() -> None:
    """Render every frame of the loop and encode it; raises `CalledProcessError` where ffmpeg fails."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    output.parent.mkdir(parents=True, exist_ok=True)
    renderer = Renderer()
    command = encoder(output)
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for index in range(IDLE_FRAMES):
            process.stdin.write(renderer.render_idle(index).tobytes())
        process.stdin.close()
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, command)
    print(f"{output}: {IDLE_FRAMES} frames, {output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
