"""Where the parts of an exported model repository lie, and the files that they are made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MODEL_SOURCES = Path(__file__).resolve().parent.parent / "model_repository"
PYTHON_MODELS = ("whisper", "vae_encoder", "unet", "vae_decoder")
ENSEMBLE = "lipsync"
RECORD = "export.json"

# The weights lie once for all models, in the ensemble's version folder: the one model folder that needs no model.py.
WEIGHTS = f"{ENSEMBLE}/1"
CHECKPOINT = "checkpoint"
GRAPHS = "graphs"
PARITY = "parity.json"

_FACES_OF_FOUR = 256  # pixels, up to which four chunks are denoised together


class ExportError(RuntimeError):
    """The repository could not be written; the message says what is missing or wrong."""


def template_sources() -> dict[str, Path]:
    """The templates by their name in the repository."""
    names = [f"{name}/1/model.py" for name in PYTHON_MODELS]
    names += [f"{name}/config.pbtxt" for name in (*PYTHON_MODELS, ENSEMBLE)]
    if not MODEL_SOURCES.is_dir():
        raise ExportError(f"{MODEL_SOURCES} is missing: install the package from a checkout (pip install -e .)")
    return {name: MODEL_SOURCES / name for name in names}


def checkpoint_files(checkpoint_dirs: Sequence[Path]) -> dict[str, Path]:
    """The files of checkpoints, the main one first, by their place below WEIGHTS.

    Raises ExportError for one that is missing, and where one listens to another Whisper than the main one does.
    """
    main = _whisper(checkpoint_dirs[0])
    folder = checkpoint_dirs[0].parent / main["path"]
    files = {f"{main['path']}/encoder.safetensors": _existing(folder, "encoder.safetensors", "tiny.pt")}
    for place, checkpoint_dir in zip(checkpoint_folders(len(checkpoint_dirs)), checkpoint_dirs, strict=True):
        if _whisper(checkpoint_dir) != main:
            raise ExportError(
                f"{checkpoint_dir.name} and {checkpoint_dirs[0].name} listen to different Whispers (whisper in their "
                "config.json): serve them by two servers"
            )
        files |= {
            f"{place}/config.json": _config_path(checkpoint_dir),
            f"{place}/unet.safetensors": _existing(checkpoint_dir, "unet.safetensors", "unet.pt"),
            f"{place}/vae.safetensors": _existing(checkpoint_dir, "vae.safetensors", "vae.pt"),
        }
    return files


def checkpoint_folders(count: int) -> list[str]:
    """Where so many checkpoints lie below WEIGHTS, the main one first; Whisper's folder is beside them."""
    return [CHECKPOINT, *(f"{CHECKPOINT}-{number}" for number in range(2, count + 1))]


def gpu_batch(checkpoint_dirs: Sequence[Path]) -> int:
    """Chunks of any of these that a GPU denoises sooner together than one after another; raises ExportError.

    Four of 256-pixel faces make a fifth more frames/s together. One of 512 pixels fills a GPU, and a second one in its
    batch gains 2 % (docs/benchmarks/gpu-1.5-1.6-h200.md).
    """
    sides = (_config(folder).get("resolution", _FACES_OF_FOUR) for folder in checkpoint_dirs)
    return 4 if max(sides) <= _FACES_OF_FOUR else 1


def _whisper(checkpoint_dir: Path) -> dict[str, Any]:
    whisper: dict[str, Any] = _config(checkpoint_dir)["whisper"]
    path = Path(whisper["path"])
    if path.is_absolute() or ".." in path.parts:
        raise ExportError(
            f"whisper.path in {_config_path(checkpoint_dir)} is {path}, expected a folder beside {checkpoint_dir.name}"
        )
    return whisper


def _config(checkpoint_dir: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(_config_path(checkpoint_dir).read_text())
    return config


def _config_path(checkpoint_dir: Path) -> Path:
    path = checkpoint_dir / "config.json"
    if not path.is_file():
        raise ExportError(f"{path} is missing: {checkpoint_dir} is no checkpoint folder")
    return path


def _existing(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ExportError(
        f"{folder} holds none of {', '.join(names)}: run `latentsync-realtime fetch` for the demo's files, "
        "or `latentsync-realtime fetch latentsync-1.0` (or -1.5, -1.6) for the official ones"
    )
