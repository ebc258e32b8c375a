"""Film a person as an avatar's idle clip: python -m training.people.film --seed 7 person.mp4

Ten seconds that end where they begin: the person looks at the camera, breathes and blinks with resting lips. The same
number gives the same pictures on the same OpenGL. `latentsync-realtime avatar add` takes the file.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
from pathlib import Path

from training.avatar.encoding import encoder
from training.avatar.motion import IDLE_FRAMES, idle_state
from training.people.identity import draw_identity
from training.people.renderer import PersonRenderer, Studio
from training.people.setting import Light, Take, draw_take

_CRF = 18


def portrait(seed: int, background: int | None = None) -> Take:
    """A take in the light of a studio, from the front, before the person's own background or that of another number."""
    light = Light(
        key=(-0.48, 0.39, 0.79),
        key_colour=(1.10, 1.04, 0.96),
        fill=(0.66, 0.10, 0.74),
        fill_colour=(0.30, 0.31, 0.33),
        rims=((0.86, 0.30, -0.42), (-0.86, 0.25, -0.44)),
        rim_colours=((0.60, 0.60, 0.62), (0.40, 0.41, 0.44)),
        sky=(0.50, 0.51, 0.53),
        ground=(0.26, 0.23, 0.21),
        softness=0.35,
    )
    behind = draw_take(seed if background is None else background, 0).background_seed
    return dataclasses.replace(draw_take(seed, 0), light=light, background_seed=behind)


def film(seed: int, output: Path, frames: int = IDLE_FRAMES, background: int | None = None) -> None:
    """Write the clip; raises `CalledProcessError` where ffmpeg fails."""
    renderer = PersonRenderer(Studio(), draw_identity(seed), portrait(seed, background))
    command = encoder(output, _CRF)
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for index in range(frames):
            state = idle_state(index, IDLE_FRAMES)
            process.stdin.write(renderer.render(state.units, state.pose).tobytes())
        process.stdin.close()
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, command)
    print(f"{output}: {frames} frames, {output.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, required=True, help="the person's number")
    parser.add_argument("--background", type=int, help="whose background; default: the person's own")
    parser.add_argument("--frames", type=int, default=IDLE_FRAMES, help="fewer don't end where they begin")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    film(arguments.seed, arguments.output, arguments.frames, arguments.background)


if __name__ == "__main__":
    main()
