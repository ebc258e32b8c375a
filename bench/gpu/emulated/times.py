"""How long a GPU takes for a chunk, by the record of a run that measured one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gpu.chunks import DECODER, ENSEMBLE, UNET
from latentsync.contract import CONTRACT
from orchestrator.settings import SettingsError

# A step of 4 and 8 frames beside one of 16, on an H200 with LatentSync 1.0: 3.10 and 3.94 ms of 5.59.
_UNET_SHARES = {4: 0.555, 8: 0.705, 16: 1.0}


@dataclass(frozen=True)
class GpuTimes:
    """Of a GPU that does nothing else: ms of one step of the UNet by chunks in the batch, ms of a chunk's decoding.

    A chunk was measured with so many `steps`.
    """

    unet_step_ms: tuple[float, ...]
    decoder_ms: float
    steps: int
    whisper_ms: float | None = None
    """Of a window of Whisper's; None: it is not emulated."""

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
        return cls(tuple((one + (most - one) * (size - 1) / (full - 1)) / steps for size in sizes), decoder_ms, steps)

    @property
    def unet_ms_of_frames(self) -> dict[int, float]:
        """ms of one step by the frames that are denoised together; a shorter chunk costs more a frame."""
        longest = CONTRACT.chunk_frames
        batches = {longest * size: ms for size, ms in enumerate(self.unet_step_ms, start=1)}
        return {frames: share * self.unet_step_ms[0] for frames, share in _UNET_SHARES.items()} | batches

    @property
    def decoder_ms_of_frames(self) -> dict[int, float]:
        """ms of decoding so many frames together: as many times longer as there are more."""
        most = CONTRACT.chunk_frames * len(self.unet_step_ms)
        sizes = {*_UNET_SHARES, *range(CONTRACT.chunk_frames, most + 1, CONTRACT.chunk_frames)}
        return {frames: self.decoder_ms * frames / CONTRACT.chunk_frames for frames in sorted(sizes)}


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
