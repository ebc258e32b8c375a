"""Render the motions of one of the demo's presenters: `python -m training.avatar.make_motions [--presenter man]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.avatar.make_idle import write_clip
from training.presenters import IDLE, PRESENTERS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="default: the presenter's own place in the checkpoint")
    parser.add_argument("--presenter", choices=PRESENTERS, default="woman")
    arguments = parser.parse_args()
    presenter = PRESENTERS[arguments.presenter]
    renderer = presenter.renderer()
    for name, states in presenter.states().items():
        if name != IDLE:
            own = presenter.video(name)
            write_clip(arguments.folder / own.name if arguments.folder else own, renderer, states)


if __name__ == "__main__":
    main()
