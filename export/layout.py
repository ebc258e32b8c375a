"""Where the parts of an exported model repository lie, and the files that they are made from."""

from __future__ import annotations

import json
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


def checkpoint_files(checkpoint_dir: Path) -> dict[str, Path]:
    """A checkpoint's files by their place below WEIGHTS; raises ExportError for one that is missing."""
    config_path = _config_path(checkpoint_dir)
    whisper = Path(json.loads(config_path.read_text())["whisper"]["path"])
    if whisper.is_absolute() or ".." in whisper.parts:
        raise ExportError(f"whisper.path in {config_path} is {whisper}, expected a folder beside {checkpoint_dir.name}")
    folder = checkpoint_dir.parent / whisper
    return {
        f"{CHECKPOINT}/config.json": config_path,
        f"{CHECKPOINT}/unet.safetensors": _existing(checkpoint_dir, "unet.safetensors", "unet.pt"),
        f"{CHECKPOINT}/vae.safetensors": _existing(checkpoint_dir, "vae.safetensors", "vae.pt"),
        f"{whisper}/encoder.safetensors": _existing(folder, "encoder.safetensors", "tiny.pt"),
    }


def gpu_batch(checkpoint_dir: Path) -> int:
    """Chunks that a GPU denoises sooner together than one after another; raises ExportError.

    Four of 256-pixel faces make a fifth more frames/s together. One of 512 pixels fills a GPU, and a second one in its
    batch gains 2 % (docs/benchmarks/gpu-1.5-1.6-h200.md).
    """
    config: dict[str, Any] = json.loads(_config_path(checkpoint_dir).read_text())
    return 4 if config.get("resolution", _FACES_OF_FOUR) <= _FACES_OF_FOUR else 1


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
