"""Rendered people side by side: python -m training.people.contact_sheet PEOPLE sheet.png [--columns 6]"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image


def main() -> None:
    """Write one picture: of each take the face at rest, and below it the frame that differs the most from it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("people", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--columns", type=int, default=6)
    arguments = parser.parse_args()
    tiles = []
    for path in sorted(arguments.people.glob("*.npz")):
        with np.load(path) as take:
            talking, idle = take["talking"], take["idle"]
        moved = np.abs(talking.astype(np.int16) - idle).mean(axis=(1, 2, 3)).argmax()
        tiles.append(np.concatenate([idle[moved], talking[moved]]))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % arguments.columns)
    rows = [np.concatenate(tiles[i : i + arguments.columns], 1) for i in range(0, len(tiles), arguments.columns)]
    Image.fromarray(np.concatenate(rows)).save(arguments.sheet)


if __name__ == "__main__":
    main()
