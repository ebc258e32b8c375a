"""Render the demo avatar's motions: `python -m training.avatar.make_motions [folder]`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from training.avatar.demo_motions import MOTIONS
from training.avatar.make_idle import OUTPUT, encoder
from training.avatar.renderer import Renderer


def main() -> None:
    """Render every motion and encode it as the idle clip is; raises `CalledProcessError` where ffmpeg fails."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT.with_name("motions")
    folder.mkdir(parents=True, exist_ok=True)
    renderer = Renderer()
    for name, motion in MOTIONS.items():
        output = folder / f"{name}.mp4"
        with subprocess.Popen(encoder(output), stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            for index in range(motion.frames):
                state = motion.state(index)
                process.stdin.write(renderer.render(state.units, state.pose).tobytes())
            process.stdin.close()
            if process.wait():
                raise subprocess.CalledProcessError(process.returncode, process.args)
        print(f"{output}: {motion.frames} frames, {output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
