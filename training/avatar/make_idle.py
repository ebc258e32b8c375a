"""Render the idle clip of one of the demo's presenters: `python -m training.avatar.make_idle [--presenter man]`."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import imageio_ffmpeg

from training.avatar.motion import FPS, FaceState
from training.avatar.projection import FRAME_SIZE
from training.presenters import IDLE, PRESENTERS, PresenterRenderer

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


def write_clip(output: Path, renderer: PresenterRenderer, states: Iterable[FaceState]) -> None:
    """Render and encode the frames of a clip; raises `CalledProcessError` where ffmpeg fails."""
    output.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with subprocess.Popen(encoder(output), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for state in states:
            process.stdin.write(renderer.render(state.units, state.pose).tobytes())
            count += 1
        process.stdin.close()
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, process.args)
    print(f"{output}: {count} frames, {output.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, nargs="?", help="default: the presenter's own place in the checkpoint")
    parser.add_argument("--presenter", choices=PRESENTERS, default="woman")
    arguments = parser.parse_args()
    presenter = PRESENTERS[arguments.presenter]
    output = arguments.output or presenter.video(IDLE)
    write_clip(output, presenter.renderer(), presenter.states()[IDLE])


if __name__ == "__main__":
    main()
