"""The record of what a model repository was exported from, by which an export knows whether it is up to date."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from export.layout import MODEL_SOURCES, RECORD, ExportError, checkpoint_files, template_sources
from export.options import Device, ExportOptions
from latentsync.contract import CONTRACT
from latentsync.engine import Engine

_FUSED_SOURCES = Path(__file__).resolve().parent.parent / "latentsync" / "fused"
_COMPILED_FOR = "compiled for"
_CHECKPOINTS = "checkpoints"


def record_of(checkpoint_dirs: Sequence[Path], options: ExportOptions) -> dict[str, Any]:
    """What an export is made from: checkpoints, the main one first, options, templates, contract, weights by time."""
    weights: dict[str, list[object]] = {}
    for path in checkpoint_files(checkpoint_dirs).values():
        status = path.stat()
        weights[str(path.resolve())] = [status.st_size, status.st_mtime_ns]
    if options.engine is not Engine.EAGER:
        import torch

        from latentsync.graphs import Machine

        is_there = options.device is Device.CPU or torch.cuda.is_available()
        if not is_there and options.engine is not Engine.FUSED:
            raise ExportError(f"engine {options.engine.value} compiles for the GPU that is there, and none is")
        if is_there:  # the fused engine's kernels are compiled by the server where the export had no GPU
            weights[_COMPILED_FOR] = list(asdict(Machine.of(torch.device(options.device.value))).values())
    files = template_sources() | (_fused_sources() if options.engine is Engine.FUSED else {})
    record: dict[str, Any] = json.loads(json.dumps({"options": asdict(options), "sources": _digests(files)}))
    checkpoints = [str(folder.resolve()) for folder in checkpoint_dirs]
    return record | {"contract": asdict(CONTRACT), "weights": weights, _CHECKPOINTS: checkpoints}


def read_record(output_dir: Path) -> Any:
    try:
        return json.loads((output_dir / RECORD).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


def is_current(written: Any, record: dict[str, Any]) -> bool:
    if not isinstance(written, dict) or written.keys() != record.keys():
        return False
    if _COMPILED_FOR not in record["weights"]:
        # No GPU is here: kernels that an export with one has compiled are not thrown away.
        weights = {name: value for name, value in written["weights"].items() if name != _COMPILED_FOR}
        written = written | {"weights": weights}
    return bool(written == record)


def is_of_this_version(output_dir: Path) -> bool:
    """Whether a repository's models were exported from what is installed; True where there is nothing to compare."""
    written = read_record(output_dir)
    if not isinstance(written, dict) or not MODEL_SOURCES.is_dir():
        return True
    exported = written.get("sources", {})
    return written.get("contract") == asdict(CONTRACT) and all(
        exported.get(name) == digest for name, digest in _digests(template_sources()).items()
    )


def exported_from(output_dir: Path) -> tuple[Path, ...]:
    """The checkpoint folders that a repository was exported from, the main one first; none where no record says it."""
    written = read_record(output_dir)
    return tuple(map(Path, written.get(_CHECKPOINTS, ()))) if isinstance(written, dict) else ()


def _digests(files: Mapping[str, Path]) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def _fused_sources() -> dict[str, Path]:
    """The sources of the exported kernels, and of what chooses among them."""
    paths = sorted(_FUSED_SOURCES.rglob("*.py"))
    return {str(path.relative_to(_FUSED_SOURCES.parent)): path for path in paths}
