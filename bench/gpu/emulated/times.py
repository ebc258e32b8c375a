"""How long a GPU takes for a chunk, by the record of a run that measured one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gpu.chunks import DECODER, ENSEMBLE, UNET
from orchestrator.settings import SettingsError


@dataclass(frozen=True)
class GpuTimes:
    """Of a GPU that does nothing else: ms of one step of the UNet by chunks in the batch, ms of a chunk's decoding."""

    unet_step_ms: tuple[float, ...]
    decoder_ms: float

    @classmethod
    def of_record(cls, path: Path) -> GpuTimes:
        """From `bench gpu --json` on one GPU; raises SettingsError where that is no record of what is needed.

        One chunk's times are those of the models alone. Of full batches only the time under load is known, in which
        the GPU also decoded as many chunks: that is taken off. Sizes between are interpolated.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            steps, points = int(record["plan"]["steps"]), list(record["ensemble"])
            decoder_ms = _infer_ms(points, DECODER, DECODER)[1]
            unet_ms = _infer_ms(points, UNET, UNET)
            full, under_load_ms = max(_infer_ms(points, ENSEMBLE, UNET).items())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingsError(
                f"{path} is no record to take a GPU's times from ({type(error).__name__}: {error}): "
                "measure one GPU with `bench gpu --only ensemble --clients 1,16 --json`"
            ) from None
        one, most = unet_ms[1], under_load_ms - full * decoder_ms
        if full == 1 or most <= one:
            raise SettingsError(f"{path} has no load under which all batches were full: measure with more --clients")
        sizes = range(1, full + 1)
        return cls(tuple((one + (most - one) * (size - 1) / (full - 1)) / steps for size in sizes), decoder_ms)


def _infer_ms(points: list[Mapping[str, Any]], loaded: str, model: str) -> dict[int, float]:
    """A model's computing time by size of batch, from the loads of `loaded` in which all batches had that size."""
    found: dict[int, float] = {}
    for point in points:
        times = point["models"].get(model)
        if point["model"] == loaded and times is not None and len(times["batches"]) == 1:
            found[int(next(iter(times["batches"])))] = float(times["infer_ms"])
    if not found:
        raise ValueError(f"it has no load of {loaded} in which {model} had batches of one size")
    return found
