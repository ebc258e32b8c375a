"""How a model's graph runs: as it is, compiled when it is loaded, or compiled ahead of time.

Compiled graphs have fixed shapes, one for each batch size; other sizes run uncompiled. The weights stay out of the
compiled files and are shared by all sizes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentsync.captured import Captured
from latentsync.engine import Engine, EngineError

_CACHE_FILE = "inductor-cache.bin"
_MACHINE_FILE = "machine.json"
# torch.compile's limit of compiled versions of one function.
_MOST_GRAPHS = 64

Run = Callable[..., Tensor]


@dataclass(frozen=True)
class Machine:
    """The machine that compiled graphs belong to."""

    torch_version: str
    device: str

    @classmethod
    def of(cls, device: torch.device) -> Machine:
        """The running torch, and the GPU's name, or the CPU's instruction set."""
        if device.type == "cuda":
            return cls(torch.__version__, torch.cuda.get_device_name(device))
        return cls(torch.__version__, torch.backends.cpu.get_cpu_capability())


def compile_ahead(
    module: nn.Module, engine: Engine, folder: Path, examples: Sequence[tuple[Tensor, ...]], device: torch.device
) -> None:
    """Compiles `module` for the shapes of each of `examples`, and writes what `load_graphs` needs into `folder`.

    The first tensors of the examples differ in their first size, the batch. Raises EngineError when a graph can't be
    compiled without its weights.
    """
    if engine is Engine.EAGER:
        return
    folder.mkdir(parents=True)
    (folder / _MACHINE_FILE).write_text(json.dumps(asdict(Machine.of(device)), indent=2) + "\n")
    if engine is Engine.AOT:
        for example in examples:
            _compile_library(module, example, folder / _library_name(example[0].shape[0]))
        return
    compiled = _compiled(module)
    with torch.inference_mode():
        for example in examples:
            compiled(*example)
    artifacts = torch.compiler.save_cache_artifacts()
    if artifacts is None:
        raise EngineError("torch.compile has no cache to export; is it disabled (TORCHINDUCTOR_*)?")
    (folder / _CACHE_FILE).write_bytes(artifacts[0])


def load_graphs(module: nn.Module, engine: Engine, folder: Path, batches: Sequence[int], device: torch.device) -> Run:
    """The module as a function that runs compiled graphs for the batch sizes `batches`.

    The compiled graphs use the module's own weights. Raises EngineError when `folder` doesn't hold them, or when they
    were compiled for another torch or another device.
    """
    if engine is Engine.EAGER:
        return module
    _require_machine(folder, device)
    runs: dict[int, Run]
    if engine is Engine.AOT:
        state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        runs = {batch: _library(folder / _library_name(batch), state, device) for batch in batches}
    else:
        # Fills torch.compile's cache: what is missing there is compiled at the first run.
        torch.compiler.load_cache_artifacts((folder / _CACHE_FILE).read_bytes())
        runs = dict.fromkeys(batches, _compiled(module))
    if device.type == "cuda":
        runs = {batch: _LazilyCaptured(run) for batch, run in runs.items()}
    return _ByBatchSize(module, runs)


@dataclass(frozen=True)
class _ByBatchSize:
    module: nn.Module
    runs: dict[int, Run]

    def __call__(self, *inputs: Tensor) -> Tensor:
        output: Tensor = self.runs.get(inputs[0].shape[0], self.module)(*inputs)
        return output


class _LazilyCaptured:
    """A function of fixed shapes that is captured as a CUDA graph at its first call."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._captured: Captured | None = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        if self._captured is None:
            self._captured = Captured(self._run, [tensor.clone() for tensor in inputs])
        return self._captured(*inputs)


def _compiled(module: nn.Module) -> Run:
    from torch._dynamo import config

    config.recompile_limit = max(config.recompile_limit, _MOST_GRAPHS)
    run: Run = torch.compile(module, fullgraph=True, dynamic=False)
    return run


def _compile_library(module: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
    with torch.no_grad():
        exported = torch.export.export(module, example)
    options = {"aot_inductor.package_constants_in_so": False}
    torch._inductor.aoti_compile_and_package(exported, package_path=str(path), inductor_configs=options)
    unknown = set(_loaded(path, example[0].device).get_constant_fqns()) - set(module.state_dict(keep_vars=True))
    if unknown:
        raise EngineError(
            f"{path.name} needs tensors that are no weights ({', '.join(sorted(unknown)[:3])}): use compile"
        )


def _library(path: Path, state: dict[str, Tensor], device: torch.device) -> Run:
    if not path.is_file():
        raise EngineError(f"{path} is missing: export again with --engine {Engine.AOT.value}")
    package = _loaded(path, device)
    wanted = {name: state[name] for name in package.get_constant_fqns()}
    # The module keeps ownership, so that batch sizes share one copy of the weights.
    package.load_constants(wanted, check_full_update=True, user_managed=True)
    run: Run = package
    return run


def _loaded(path: Path, device: torch.device) -> Any:
    on_gpu = device.type == "cuda"
    index = device.index if on_gpu and device.index is not None else -1
    # Its locks can't be captured in a CUDA graph, and an instance runs one batch at a time.
    return torch._inductor.aoti_load_package(str(path), run_single_threaded=on_gpu, device_index=index)


def _library_name(batch: int) -> str:
    return f"batch-{batch}.pt2"


def _require_machine(folder: Path, device: torch.device) -> None:
    try:
        made_for = Machine(**json.loads((folder / _MACHINE_FILE).read_text()))
    except FileNotFoundError:
        raise EngineError(f"{folder} holds no compiled graphs: export again with this engine") from None
    here = Machine.of(device)
    if made_for != here:
        raise EngineError(
            f"the graphs in {folder} were compiled for {made_for.device} with torch {made_for.torch_version}, this is "
            f"{here.device} with torch {here.torch_version}: run `latentsync-realtime export` on this machine"
        )
