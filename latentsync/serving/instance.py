"""One instance of a served model: its typed parameters, and how its process computes."""

from __future__ import annotations

import json
import locale
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import torch

from latentsync import engines
from latentsync.checkpoint import Checkpoint
from latentsync.cpu import keep_freed_memory
from latentsync.denoising import Predictor, Solver
from latentsync.engine import Engine
from latentsync.engines import KERNELS, Decode, decoder_batches, unet_batches
from latentsync.unet import LatentSyncUNet
from latentsync.vae import Vae

Choice = TypeVar("Choice", bound=Enum)

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class ModelInstance:
    """Where one instance of a served model finds its weights, and how it computes."""

    model_name: str
    checkpoint_dir: Path
    device: torch.device
    dtype: torch.dtype
    cpu_threads: int
    engine: Engine = Engine.EAGER
    graphs_dir: Path | None = None
    max_batch: int = 1
    solver: Solver = Solver.DDIM
    reuse: int = 1
    further: tuple[Path, ...] = ()

    @classmethod
    def start(cls, arguments: Mapping[str, str]) -> list[tuple[ModelInstance, Checkpoint]]:
        """Reads the `args` of a model's `initialize`, configures this process, and opens the checkpoints.

        The main one, whose Whisper all of them listen to, comes first. Raises ValueError as `from_triton` does, and
        CheckpointError.
        """
        instance = cls.from_triton(arguments)
        instance.configure_process()
        each = (instance, *(instance.with_checkpoint(folder) for folder in instance.further))
        return [(one, Checkpoint.open(one.checkpoint_dir)) for one in each]

    @classmethod
    def from_triton(cls, arguments: Mapping[str, str]) -> ModelInstance:
        """Reads the `args` of a Python-backend model's `initialize`.

        The configuration's parameters are `checkpoint` (a folder, relative to the model's own), `dtype`, `cpu_threads`,
        for a model of several checkpoints `further` (a JSON list of such folders), for one whose graph an engine may
        run `engine` and `graphs` (a folder again), and for the one that denoises `solver` and `reuse`. Raises
        ValueError naming the parameter that is missing or not understood.
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
            model_name=arguments["model_name"],
            checkpoint_dir=repository / parameter("checkpoint"),
            device=torch.device(f"cuda:{arguments['model_instance_device_id']}" if on_gpu else "cpu"),
            dtype=_DTYPES[dtype],
            cpu_threads=int(threads),
            engine=engine,
            graphs_dir=repository / parameter("graphs") if "graphs" in entries else None,
            max_batch=max(1, int(config.get("max_batch_size", 1))),
            solver=solver,
            reuse=int(reuse),
            further=tuple(repository / folder for folder in _folders(entries)),
        )

    def with_checkpoint(self, folder: Path) -> ModelInstance:
        """The same for another checkpoint of this process, whose compiled graphs lie beside those of the main one."""
        graphs = None if self.graphs_dir is None else self.graphs_dir.with_name(f"{self.graphs_dir.name}-{folder.name}")
        return replace(self, checkpoint_dir=folder, graphs_dir=graphs, further=())

    @property
    def is_compiled(self) -> bool:
        """Whether the first run of each batch size is slow: its graph is loaded or captured then."""
        return self.engine is not Engine.EAGER

    @property
    def warm_up_batches(self) -> Sequence[int]:
        """Batch sizes to run before the model is ready; without compiled graphs one warms up all.

        The largest comes first: graphs that are captured later find its memory, and need none of their own.
        """
        return range(self.max_batch, 0, -1) if self.is_compiled else (1,)

    def configure_process(self) -> None:
        """Sets this process's text encoding, thread count, malloc policy, current GPU and libraries."""
        # Triton's stub sets no locale: Python then reads text as ASCII, and torch's compiler fails at its own files.
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        torch.set_num_threads(self.cpu_threads)
        keep_freed_memory()
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        engines.configure_libraries(self.device, self.engine)

    def exported_kernels(self) -> AbstractContextManager[None]:
        """A context for the first runs: the fused engine loads the kernels that the export compiled."""
        if self.engine is not Engine.FUSED or self.graphs_dir is None:
            return nullcontext()
        from latentsync.fused.kernel_cache import load_kernels_from

        return load_kernels_from(self.graphs_dir / KERNELS)

    def run_unet(self, unet: LatentSyncUNet) -> Predictor:
        """The UNet as this instance's engine runs it; raises EngineError."""
        return engines.run_unet(unet, self.engine, self.graphs_dir, unet_batches(self.max_batch), self.reuse)

    def run_decoder(self, vae: Vae) -> Decode:
        """The VAE's decoder as this instance's engine runs it; raises EngineError."""
        return engines.run_decoder(vae, self.engine, self.graphs_dir, decoder_batches(self.max_batch))


def _folders(entries: Mapping[str, Any]) -> list[str]:
    value = entries["further"]["string_value"] if "further" in entries else "[]"
    try:
        folders = json.loads(value)
    except ValueError:
        folders = None
    if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
        raise ValueError(f"parameter further is {value!r}, expected a JSON list of checkpoint folders")
    return folders


def _one_of(choices: type[Choice], name: str, value: str) -> Choice:
    try:
        return choices(value)
    except ValueError:
        known = ", ".join(str(choice.value) for choice in choices)
        raise ValueError(f"parameter {name} is {value!r}, expected one of {known}") from None
