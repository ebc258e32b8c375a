"""Input data for NVIDIA's perf_analyzer: real chunks as its JSON takes them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from bench.gpu.chunks import DECODER, ENSEMBLE, UNET, ChunkSet
from inference.transport import Inputs

ORIGIN_FILE = "origin.txt"
PERF_MODELS = (ENSEMBLE, UNET, DECODER)


def data_file(folder: Path, model: str) -> Path:
    """Where a model's requests lie."""
    return folder / f"{model}.json"


def write_perf_data(
    folder: Path, chunks: ChunkSet, latents: Sequence[Inputs], steps: int, guidance: float
) -> list[Path]:
    """One file for each of `lipsync`, `unet` and `vae_decoder`, and a text file that describes them; returns the files.

    `latents` are the decoder's requests, of one row each as all of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    denoised = [chunk.inputs(steps, guidance) for chunk in chunks.chunks]
    paths = []
    for model, requests in ((ENSEMBLE, denoised), (UNET, denoised), (DECODER, latents)):
        path = data_file(folder, model)
        path.write_text(json.dumps({"data": [_row(request) for request in requests]}), encoding="utf-8")
        paths.append(path)
    text = f"{chunks.origin}; {steps} steps, guidance {guidance:g}\n"
    (folder / ORIGIN_FILE).write_text(text, encoding="utf-8")
    return paths


def _row(inputs: Inputs) -> dict[str, object]:
    """perf_analyzer adds the batch axis itself."""
    return {
        name: {"content": {"b64": base64.b64encode(values[0].tobytes()).decode()}, "shape": list(values.shape[1:])}
        for name, values in inputs.items()
    }
