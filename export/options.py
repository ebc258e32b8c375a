"""The options of an export: device, dtype, engine, solver, instances and batches."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from export.layout import PYTHON_MODELS, ExportError
from latentsync.engine import Engine
from latentsync.scheduler import Solver

AUTO_ENGINE = "auto"


class Device(StrEnum):
    """What the models run on; AUTO takes the GPUs when torch sees any."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Dtype(StrEnum):
    """What the UNet and the VAE compute in; AUTO is float16 on GPUs and what the CPU is fastest in elsewhere."""

    AUTO = "auto"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"

    @classmethod
    def named(cls, name: str) -> Dtype:
        """The type of that name, which may be short (fp16, bf16, fp32); raises ExportError."""
        try:
            return cls(_SHORT_DTYPES.get(name, name))
        except ValueError:
            known = ", ".join([*(known.value for known in cls), *_SHORT_DTYPES])
            raise ExportError(f"dtype is {name!r}, expected one of {known}") from None


_SHORT_DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}


@dataclass(frozen=True)
class ExportOptions:
    """Everything that an export was asked for, with each "auto" resolved, except for the dtype."""

    device: Device
    dtype: Dtype
    cpu_threads: int
    instances: dict[str, int]
    unet_batch: int
    engine: Engine
    solver: Solver
    reuse: int

    @property
    def on_gpu(self) -> bool:
        """Whether the models run on GPUs."""
        return self.device is Device.CUDA

    @property
    def computing_dtype(self) -> Dtype:
        """The dtype of the UNet and the VAE; for "auto" on a CPU imports torch to ask what it is fastest in."""
        if self.dtype is not Dtype.AUTO:
            return self.dtype
        if self.on_gpu:
            return Dtype.FLOAT16
        from latentsync.cpu import preferred_dtype

        return Dtype(str(preferred_dtype()).removeprefix("torch."))


def whisper_dtype(on_gpu: bool, dtype: Dtype) -> Dtype:
    """The dtype in which Whisper multiplies, where the UNet and the VAE compute in `dtype`.

    On a CPU a window takes most of the time to a speech's first frame, and bfloat16 halves it; on a GPU Whisper is
    small. Its weights and hidden states are float32 everywhere: OpenAI's layer norms fail with weights of another type.
    """
    return dtype if dtype is Dtype.BFLOAT16 and not on_gpu else Dtype.FLOAT32


def resolve_options(
    *,
    device: str,
    dtype: str,
    cpu_threads: int | None,
    instances: Mapping[str, int] | None,
    unet_batch: int | None,
    gpu_batch: int,
    engine: str,
    solver: str,
    reuse: int,
) -> ExportOptions:
    """The options of `export_repository`, checked and with defaults; raises ExportError for a wrong one.

    `gpu_batch` is the `unet_batch` of a GPU where none is asked for.
    """
    chosen = Device(device)
    if chosen is Device.AUTO:
        chosen = Device.CUDA if _gpu_is_usable() else Device.CPU
    options = ExportOptions(
        device=chosen,
        dtype=Dtype.named(dtype),
        cpu_threads=len(os.sched_getaffinity(0)) if cpu_threads is None else cpu_threads,
        instances=dict.fromkeys(PYTHON_MODELS, 1) | dict(instances or {}),
        unet_batch=(gpu_batch if chosen is Device.CUDA else 1) if unet_batch is None else unet_batch,
        engine=_engine(engine, chosen),
        solver=_solver(solver),
        reuse=reuse,
    )
    _check(options)
    return options


def _engine(name: str, device: Device) -> Engine:
    if name == AUTO_ENGINE:
        return Engine.FUSED if device is Device.CUDA else Engine.EAGER
    try:
        engine = Engine(name)
    except ValueError:
        known = ", ".join([AUTO_ENGINE, *(known.value for known in Engine)])
        raise ExportError(f"engine is {name!r}, expected {known}") from None
    if engine is Engine.FUSED and device is Device.CPU:
        raise ExportError("engine fused runs on NVIDIA GPUs only: take eager on a CPU")
    if engine is Engine.AOT and device is Device.CUDA:
        # Seen with torch 2.11 and CUDA 13, for the demo's size as for the official one: no error, the process is gone.
        raise ExportError("AOTInductor's packages end the process that loads them on a GPU: take fused there")
    return engine


def _solver(name: str) -> Solver:
    try:
        return Solver(name)
    except ValueError:
        raise ExportError(f"solver is {name!r}, expected {' or '.join(known.value for known in Solver)}") from None


def _check(options: ExportOptions) -> None:
    unknown = options.instances.keys() - set(PYTHON_MODELS)
    if unknown:
        raise ExportError(f"instances names {', '.join(sorted(unknown))}; the models are {', '.join(PYTHON_MODELS)}")
    counts = {"cpu_threads": options.cpu_threads, "unet_batch": options.unet_batch, "reuse": options.reuse}
    counts |= {f"instances of {name}": count for name, count in options.instances.items()}
    for name, count in counts.items():
        if count < 1:
            raise ExportError(f"{name} is {count}, expected at least 1")


def _gpu_is_usable() -> bool:
    if not Path("/dev/nvidiactl").exists():
        return False  # spares the seconds that importing torch takes
    import torch

    return torch.cuda.is_available()
