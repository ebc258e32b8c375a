"""Where the parts of an exported model repository lie, and the files that they are made from."""

from __future__ import annotations

import json
from pathlib import Path

MODEL_SOURCES = Path(__file__).resolve().parent.parent / "model_repository"
PYTHON_MODELS = ("whisper", "vae_encoder", "unet", "vae_decoder")
ENSEMBLE = "lipsync"
RECORD = "export.json"

# The weights lie once for all models, in the ensemble's version folder: the one model folder that needs no model.py.
WEIGHTS = f"{ENSEMBLE}/1"
CHECKPOINT = "checkpoint"
GRAPHS = "graphs"
PARITY = "parity.json"


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
    config_path = checkpoint_dir / "config.json"
    if not config_path.is_file():
        raise ExportError(f"{config_path} is missing: {checkpoint_dir} is no checkpoint folder")
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


def _existing(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ExportError(
        f"{folder} holds none of {', '.join(names)}: run `latentsync-realtime fetch` for the demo's files, "
        "or `latentsync-realtime fetch latentsync-1.0` (or -1.5, -1.6) for the official ones"
    )
