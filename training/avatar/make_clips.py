"""Render the clips of one of the demo's presenters: `python -m training.avatar.make_clips [FOLDER] [--presenter man]`.

Those are the idle clip and each motion, as an avatar's folder of the checkpoint holds them.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterable
from pathlib import Path

from training.avatar.encoding import encoder
from training.avatar.motion import FaceState
from training.presenters import PRESENTERS, PresenterRenderer


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
    parser.add_argument("folder", type=Path, nargs="?", help="default: the presenter's own place in the checkpoint")
    parser.add_argument("--presenter", choices=PRESENTERS, default="woman")
    arguments = parser.parse_args()
    presenter = PRESENTERS[arguments.presenter]
    renderer, folder = presenter.renderer(), arguments.folder or presenter.folder
    for name, states in presenter.states().items():
        write_clip(folder / presenter.video(name).relative_to(presenter.folder), renderer, states)


if __name__ == "__main__":
    main()
