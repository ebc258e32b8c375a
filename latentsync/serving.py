"""What the served models share: an instance's typed parameters, and a batch in which each request fails alone.

Nothing here imports a server; `model_repository/*/1/model.py` hands in what the server gave it.
"""

from __future__ import annotations

import json
import locale
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from latentsync import engines
from latentsync.contract import CONTRACT
from latentsync.cpu import keep_freed_memory
from latentsync.denoising import Predictor, Solver
from latentsync.engine import Engine
from latentsync.engines import KERNELS, Decode, decoder_batches, unet_batches
from latentsync.unet import LatentSyncUNet
from latentsync.vae import Vae

__all__ = [
    "ModelInstance",
    "awaited",
    "joined",
    "require_chunk",
    "require_finite",
    "require_window",
    "run_batch",
]

Choice = TypeVar("Choice", bound=Enum)

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class ModelInstance:
    """Where one instance of a served model finds its weights, and how it computes."""

    checkpoint_dir: Path
    device: torch.device
    dtype: torch.dtype
    cpu_threads: int
    engine: Engine = Engine.EAGER
    graphs_dir: Path | None = None
    max_batch: int = 1
    solver: Solver = Solver.DDIM
    reuse: int = 1

    @classmethod
    def from_triton(cls, arguments: Mapping[str, str]) -> ModelInstance:
        """Reads the `args` of a Python-backend model's `initialize`.

        The configuration's parameters are `checkpoint` (a folder, relative to the model's own), `dtype`, `cpu_threads`,
        for a model whose graph an engine may run `engine` and `graphs` (a folder again), and for the one that denoises
        `solver` and `reuse`. Raises ValueError naming the parameter that is missing or not understood.
        """
        config = json.loads(arguments["model_config"])
        entries = config["parameters"]

        def parameter(name: str) -> str:
            if name not in entries:
                raise ValueError(f"config.pbtxt of {arguments['model_name']} has no parameter {name!r}")
            return str(entries[name]["string_value"])

        dtype, threads = parameter("dtype"), parameter("cpu_threads")
        if dtype not in _DTYPES:
            raise ValueError(f"parameter dtype is {dtype!r}, expected one of {', '.join(_DTYPES)}")
        if not threads.isdecimal() or int(threads) < 1:
            raise ValueError(f"parameter cpu_threads is {threads!r}, expected a whole number of at least 1")
        engine = _one_of(Engine, "engine", parameter("engine") if "engine" in entries else Engine.EAGER.value)
        solver = _one_of(Solver, "solver", parameter("solver") if "solver" in entries else Solver.DDIM.value)
        reuse = parameter("reuse") if "reuse" in entries else "1"
        if not reuse.isdecimal() or int(reuse) < 1:
            raise ValueError(f"parameter reuse is {reuse!r}, expected a whole number of at least 1")
        repository = Path(arguments["model_repository"])
        on_gpu = arguments["model_instance_kind"] == "GPU"
        return cls(
            checkpoint_dir=repository / parameter("checkpoint"),
            device=torch.device(f"cuda:{arguments['model_instance_device_id']}" if on_gpu else "cpu"),
            dtype=_DTYPES[dtype],
            cpu_threads=int(threads),
            engine=engine,
            graphs_dir=repository / parameter("graphs") if "graphs" in entries else None,
            max_batch=max(1, int(config.get("max_batch_size", 1))),
            solver=solver,
            reuse=int(reuse),
        )

    def apply(self) -> None:
        """Sets this process's text encoding, thread count, memory policy, current GPU and how its libraries choose."""
        # Triton's stub sets no locale: Python then reads text as ASCII, and torch's compiler fails at its own files.
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        torch.set_num_threads(self.cpu_threads)
        keep_freed_memory()
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        engines.settle_libraries(self.device, self.engine)

    def kept_kernels(self) -> AbstractContextManager[None]:
        """Where networks are run for the first time: finds the kernels that the export compiled for them."""
        if self.engine is not Engine.FUSED or self.graphs_dir is None:
            return nullcontext()
        from latentsync.fused.kernel_cache import kernels_taken_from

        return kernels_taken_from(self.graphs_dir / KERNELS)

    def run_unet(self, unet: LatentSyncUNet) -> Predictor:
        """The UNet as this instance's engine runs it; raises EngineError."""
        return engines.run_unet(unet, self.engine, self.graphs_dir, unet_batches(self.max_batch), self.reuse)

    def run_decoder(self, vae: Vae) -> Decode:
        """The VAE's decoder as this instance's engine runs it; raises EngineError."""
        return engines.run_decoder(vae, self.engine, self.graphs_dir, decoder_batches(self.max_batch))


def _one_of(choices: type[Choice], name: str, value: str) -> Choice:
    try:
        return choices(value)
    except ValueError:
        known = ", ".join(str(choice.value) for choice in choices)
        raise ValueError(f"parameter {name} is {value!r}, expected one of {known}") from None


def require_finite(name: str, tensor: Tensor) -> Tensor:
    """Returns `tensor` as it is; raises ValueError that counts its values that are NaN or infinite."""
    # The least and the greatest are NaN or infinite if any value is, and found in a tenth of the time of asking each.
    if tensor.numel() and not bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all()):
        bad = tensor.numel() - int(torch.isfinite(tensor).sum())
        raise ValueError(f"{name} has {bad} of {tensor.numel()} values that are NaN or infinite")
    return tensor


def require_chunk(name: str, tensor: Tensor) -> Tensor:
    """Returns chunks [rows, 16, ...] as they are; raises ValueError for another count of frames, and as above."""
    if tensor.shape[1] != CONTRACT.chunk_frames:
        raise ValueError(f"{name} has {tensor.shape[1]} frames, expected {CONTRACT.chunk_frames}")
    return require_finite(name, tensor)


def require_window(name: str, pcm: Tensor) -> Tensor:
    """Returns windows of PCM [rows, 480000] as they are.

    Raises ValueError for another length, infinite values and stray NaNs. NaNs may only run to a window's end: they say
    where its speech ended (latentsync.audio.PAST_END).
    """
    if pcm.shape[1] != CONTRACT.window_samples:
        raise ValueError(f"{name} has {pcm.shape[1]} samples, expected {CONTRACT.window_samples}")
    ended = pcm.isnan()
    if bool((ended[:, :-1] & ~ended[:, 1:]).any()):
        raise ValueError(f"{name} has samples that are NaN; only those past the end of the speech may be")
    if bool(pcm.isinf().any()):
        raise ValueError(f"{name} has {int(pcm.isinf().sum())} infinite samples")
    return pcm


def joined(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """Requests' tensors as one on a device; the host's go through page-locked memory, which a GPU fetches by itself."""
    if device.type != "cuda" or any(tensor.is_cuda for tensor in tensors):
        return torch.cat([tensor.to(device) for tensor in tensors])
    shape = (sum(len(tensor) for tensor in tensors), *tensors[0].shape[1:])
    staged = torch.empty(shape, dtype=tensors[0].dtype, pin_memory=True)
    return torch.cat(list(tensors), out=staged).to(device, non_blocking=True)


def awaited(result: Tensor) -> Tensor:
    """A result once it is there; the process sleeps until then, where Triton's own wait keeps a core busy."""
    if result.is_cuda:
        made = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        made.record()
        made.synchronize()
    return result


def run_batch(
    inputs: Sequence[Tensor],
    device: torch.device,
    check: Callable[[Tensor], Tensor],
    forward: Callable[[Tensor], Tensor],
) -> list[Tensor | ValueError | RuntimeError]:
    """Runs requests' tensors as one batch on a device, and gives each request its rows of the result or its own error.

    `inputs` are [rows_i, ...] on any devices: in an ensemble each comes from the GPU that made it. One that `check`
    refuses gets that ValueError and stays out of the batch. When `forward` itself fails, every request that was in the
    batch gets its RuntimeError; where memory ran out, halves are tried.
    """
    outcomes: list[Tensor | ValueError | RuntimeError] = []
    accepted: list[int] = []
    for index, tensor in enumerate(inputs):
        try:
            outcomes.append(check(tensor))
            accepted.append(index)
        except ValueError as error:
            # Its traceback holds this frame, which holds `outcomes`: the inputs, which lie in shared memory, would wait
            # for the garbage collector, and fill that memory in the meantime.
            outcomes.append(error.with_traceback(None))
    if not accepted:
        return outcomes
    with torch.inference_mode():
        results = _run_joined([inputs[index] for index in accepted], device, forward)
    for index, result in zip(accepted, results, strict=True):
        outcomes[index] = result
    return outcomes


def _run_joined(
    inputs: list[Tensor], device: torch.device, forward: Callable[[Tensor], Tensor]
) -> list[Tensor | RuntimeError]:
    try:
        return list(torch.split(awaited(forward(joined(inputs, device))), [tensor.shape[0] for tensor in inputs]))
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) or len(inputs) == 1:
            return [error.with_traceback(None)] * len(inputs)
    # Out here, where the error and the tensors that it holds on to are gone.
    half = len(inputs) // 2
    return _run_joined(inputs[:half], device, forward) + _run_joined(inputs[half:], device, forward)
