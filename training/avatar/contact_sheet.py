"""Render the avatar's expressions and poses side by side: `python -m training.avatar.contact_sheet [folder]`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from training.avatar.motion import VISEMES, Pose, idle_state, talking_state
from training.avatar.renderer import Renderer

EXTREMES = (
    Pose(yaw=0.09, pitch=0.035, roll=0.02, gaze_yaw=-0.07, breath=1.0),
    Pose(yaw=-0.09, pitch=-0.035, roll=-0.02, gaze_yaw=0.07),
)


def main() -> None:
    """Write one PNG of 640×640 tiles: rest, mouth shapes, closed lids, and both extreme poses of the head."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()
    renderer = Renderer()
    rest = idle_state(0)
    blink = {**rest.units, "eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
    states = [(rest.units, rest.pose)]
    states += [(talking_state(rest, VISEMES[name]).units, rest.pose) for name in ("AA", "EE", "OO", "MM", "FF")]
    states += [(blink, rest.pose), *((rest.units, pose) for pose in EXTREMES)]
    tiles = [renderer.render(units, pose) for units, pose in states]
    rows = [np.concatenate(tiles[i : i + 3], axis=1) for i in range(0, len(tiles), 3)]
    path = folder / "avatar_contact_sheet.png"
    Image.fromarray(np.concatenate(rows)).save(path)
    print(path)


if __name__ == "__main__":
    main()
