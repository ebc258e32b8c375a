"""What the mouths of rendered people say: the curves of the speech data, or shapes drawn from a seed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.avatar.motion import VISEMES

FloatArray = NDArray[np.float32]
_FRAMES_OF_A_SHAPE = (3, 8)


@dataclass(frozen=True)
class Utterance:
    """Face units of consecutive frames: names [u], curves [frames, u]; and where in the speech data they come from."""

    names: tuple[str, ...]
    curves: FloatArray
    clip: str
    first_frame: int

    def mouth(self, frame: int) -> dict[str, float]:
        """The face units of one frame."""
        return dict(zip(self.names, map(float, self.curves[frame]), strict=True))


class SpeechData:
    """The clips of a folder that `training.speech.make` wrote, of its training groups or of the held-out ones."""

    def __init__(self, folder: Path, held_out: bool = False) -> None:
        """Raises FileNotFoundError where the folder has no curves."""
        self._curves = np.load(folder / "curves.npz")
        self._names = tuple(str(name) for name in self._curves["names"])
        entries = json.loads((folder / "speech.json").read_text())
        self._clips = [str(e["id"]) for e in entries if (e["group"] != "train") is held_out]

    def draw(self, frames: int, rng: np.random.Generator) -> Utterance:
        """A part of a clip; what is longer than the clip ends with its last frame."""
        clip = self._clips[int(rng.integers(len(self._clips)))]
        curves = self._curves[clip].astype(np.float32)
        first = int(rng.integers(max(1, len(curves) - frames + 1)))
        part = curves[np.minimum(np.arange(first, first + frames), len(curves) - 1)]
        return Utterance(self._names, part, clip, first)


def drawn_shapes(frames: int, rng: np.random.Generator) -> Utterance:
    """Mouth shapes one after another, without speech: enough for a VAE, and for looking at."""
    names = tuple(sorted({name for shape in VISEMES.values() for name in shape}))
    shapes = list(VISEMES.values())
    targets: list[list[float]] = []
    while len(targets) < frames:
        shape, strength = shapes[int(rng.integers(len(shapes)))], float(rng.uniform(0.4, 1.2))
        targets += [[strength * shape.get(name, 0.0) for name in names]] * int(rng.integers(*_FRAMES_OF_A_SHAPE))
    curves = np.array(targets[:frames], np.float32)
    padded = np.concatenate([curves[:1], curves, curves[-1:]])
    return Utterance(names, 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:], "", 0)
