"""Whisper's features of all the speech, found in a process of its own while people are rendered."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from training.starter.takes import Speech
from training.write_checkpoint import load_encoder


def hear(data: Path, checkpoints: Path, target: Path, variants: int) -> None:
    """Write the features of all clips of `data`, unchanged and augmented, as the file `target`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clips = [str(entry["id"]) for entry in json.loads((data / "speech.json").read_text())]
    speech = Speech.load(data, clips, load_encoder(checkpoints, device), variants, 0, device)
    part = target.with_suffix(".part")
    torch.save({"features": speech.features.cpu(), "spans": speech.spans}, part)
    part.rename(target)


def heard(target: Path, device: str) -> Speech:
    """Read what `hear` wrote."""
    known = torch.load(target)
    return Speech(known["features"].to(device), known["spans"])
