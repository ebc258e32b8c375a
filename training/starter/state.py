"""What one run leaves for the next: weights as float16, and how far the training is.

Files stay below a size, as they may have to be carried by a channel that takes small ones only. The optimiser's moments
are three times the weights and aren't carried: a run that goes on warms up for a few hundred steps.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

LARGEST_BYTES = 15_000_000


@dataclass(frozen=True)
class Progress:
    """How long a network was trained in all runs, in seconds and steps, and the loss at the end of the last."""

    seconds: float = 0.0
    steps: int = 0
    loss: float = 0.0

    @classmethod
    def read(cls, folder: Path, name: str) -> Progress:
        """Progress of the network `name`; nothing where it wasn't trained yet."""
        path = folder / f"{name}.json"
        return cls(**json.loads(path.read_text())["progress"]) if path.is_file() else cls()


def save(folder: Path, name: str, weights: dict[str, Tensor], progress: Progress, **about: object) -> None:
    """Write `name`.json and `name`-<n>.safetensors, each of at most LARGEST_BYTES; `about` is kept in the JSON.

    The JSON is written last and names the parts, so that an interrupted write leaves the state before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for key, value in weights.items():
        half = value.detach().to("cpu", torch.float16).contiguous()
        if size + half.nbytes > LARGEST_BYTES and parts[-1]:
            parts.append({})
            size = 0
        parts[-1][key] = half
        size += half.nbytes
    path = folder / f"{name}.json"
    before = set(json.loads(path.read_text())["parts"]) if path.is_file() else set()
    names = [f"{name}-{progress.steps}-{number}.safetensors" for number in range(len(parts))]
    for part, file in zip(parts, names, strict=True):
        save_file(part, folder / file)
    text = json.dumps({"progress": asdict(progress), "parts": names, **about}, indent=1)
    path.with_suffix(".part").write_text(text)
    path.with_suffix(".part").rename(path)
    for old in before - set(names):
        (folder / old).unlink(missing_ok=True)


def load(folder: Path, name: str) -> dict[str, Tensor] | None:
    """The weights of the network `name` as float32; None where it wasn't trained yet."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    weights: dict[str, Tensor] = {}
    for file in json.loads(path.read_text())["parts"]:
        weights |= {key: value.float() for key, value in load_file(folder / file).items()}
    return weights


def about(folder: Path, name: str) -> dict[str, object]:
    """What `save` was told about the network; raises FileNotFoundError where it wasn't trained yet."""
    known: dict[str, object] = json.loads((folder / f"{name}.json").read_text())
    return known
