"""Checkpoints without weights: enough for what only reads their configuration."""

import json
from pathlib import Path
from typing import Any

from tests.support.tiny_checkpoint import CONFIG


def checkpoint_in(folder: Path, name: str, **changes: Any) -> Path:
    """`folder`/`name` with the tiny checkpoint's configuration under that name; of `changes` dicts are merged in."""
    values: dict[str, Any] = {**CONFIG, "name": name}
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    (target / "config.json").write_text(json.dumps(values))
    return target
