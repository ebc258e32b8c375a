"""Writes a servable Triton model repository out of a checkpoint folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from export.replacing import replace_folder
from latentsync.contract import CONTRACT, CONTRACT_FILE, ServedContract
from latentsync.engine import Engine
from latentsync.scheduler import Solver

if TYPE_CHECKING:
    from latentsync.checkpoint import Checkpoint

_FUSED_SOURCES = Path(__file__).resolve().parent.parent / "latentsync" / "fused"
MODEL_SOURCES = Path(__file__).resolve().parent.parent / "model_repository"
PYTHON_MODELS = ("whisper", "vae_encoder", "unet", "vae_decoder")
ENSEMBLE = "lipsync"
RECORD = "export.json"
_COMPILED_FOR = "compiled for"
AUTO_ENGINE = "auto"

# The weights lie once for all models, in the ensemble's version folder: the one model folder that needs no model.py.
WEIGHTS = f"{ENSEMBLE}/1"
CHECKPOINT = "checkpoint"
GRAPHS = "graphs"
PARITY = "parity.json"


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


class ExportError(RuntimeError):
    """The repository could not be written; the message says what is missing or wrong."""


@dataclass(frozen=True)
class _Options:
    device: Device
    dtype: Dtype
    cpu_threads: int
    instances: dict[str, int]
    unet_batch: int
    engine: Engine
    solver: Solver
    reuse: int


def export_repository(
    checkpoint_dir: Path,
    output_dir: Path,
    *,
    device: str = Device.AUTO,
    dtype: str = Dtype.AUTO,
    cpu_threads: int | None = None,
    instances: Mapping[str, int] | None = None,
    unet_batch: int | None = None,
    engine: str = AUTO_ENGINE,
    solver: str = Solver.DDIM,
    reuse: int = 1,
    report: Callable[[str], None] = lambda text: None,
) -> bool:
    """Writes `output_dir` for tritonserver out of a checkpoint folder; False when it was up to date already.

    `cpu_threads` is for each model process (None: every core), `instances` per GPU, or on the CPU, by model name (1
    where not named), `unet_batch` the most chunks denoised together (None: 4 on GPUs, 1 on a CPU, where a batch only
    makes its first chunk late). `engine` runs UNet and VAE decoder ("auto": "fused" on GPUs, "eager" on a CPU);
    "compile" and "aot" compile here, for this device and for batches up to `unet_batch`. `solver` ("ddim" or "dpm++")
    and `reuse` (denoise's) trade the picture for speed. Each stage is compared with float32 eager; `report` gets the
    table before anything is replaced. The folder is complete (model.py, config.pbtxt, contract.json, weights, graphs)
    and all paths in it are relative. It is written beside `output_dir` and put in its place in one step: a failure
    leaves the old one.
    Raises ExportError, CheckpointError for weights that do not load, and EngineError for graphs that do not compile.
    """
    chosen = Device(device)
    if chosen is Device.AUTO:
        chosen = Device.CUDA if _gpu_is_usable() else Device.CPU
    options = _Options(
        device=chosen,
        dtype=Dtype.named(dtype),
        cpu_threads=len(os.sched_getaffinity(0)) if cpu_threads is None else cpu_threads,
        instances=dict.fromkeys(PYTHON_MODELS, 1) | dict(instances or {}),
        unet_batch=(4 if chosen is Device.CUDA else 1) if unet_batch is None else unet_batch,
        engine=_engine(engine, chosen),
        solver=_solver(solver),
        reuse=reuse,
    )
    _check(options)
    record = _record(checkpoint_dir, options)
    if _is_current(_read_record(output_dir), record):
        return False
    if output_dir.exists():
        _require_ours(output_dir)
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir.parent, prefix=f".{output_dir.name}-") as folder:
        fresh = Path(folder) / "new"
        _write_repository(checkpoint_dir, fresh, options, report)
        (fresh / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        replace_folder(fresh, output_dir)
    return True


def is_of_this_version(output_dir: Path) -> bool:
    """Whether a repository's models were exported from what is installed; True where there is nothing to compare."""
    written = _read_record(output_dir)
    if not isinstance(written, dict) or not MODEL_SOURCES.is_dir():
        return True
    exported = written.get("sources", {})
    return written.get("contract") == asdict(CONTRACT) and all(
        exported.get(name) == digest for name, digest in _digests(_sources()).items()
    )


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


def _check(options: _Options) -> None:
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


def _record(checkpoint_dir: Path, options: _Options) -> dict[str, Any]:
    """What an export is made from: options, templates by content, the contract, weights by size and time."""
    weights: dict[str, list[object]] = {}
    for path in _checkpoint_files(checkpoint_dir).values():
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
    files = _sources() | (_fused_sources() if options.engine is Engine.FUSED else {})
    record: dict[str, Any] = json.loads(json.dumps({"options": asdict(options), "sources": _digests(files)}))
    return record | {"contract": asdict(CONTRACT), "weights": weights}


def _read_record(output_dir: Path) -> Any:
    try:
        return json.loads((output_dir / RECORD).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


def _is_current(written: Any, record: dict[str, Any]) -> bool:
    if not isinstance(written, dict) or written.keys() != record.keys():
        return False
    if _COMPILED_FOR not in record["weights"]:
        # No GPU is here: kernels that an export with one has compiled are not thrown away.
        weights = {name: value for name, value in written["weights"].items() if name != _COMPILED_FOR}
        written = written | {"weights": weights}
    return bool(written == record)


def _require_ours(output_dir: Path) -> None:
    if not (output_dir / RECORD).is_file() and any(output_dir.iterdir()):
        raise ExportError(f"{output_dir} is not empty and was not written by an export: choose another folder")


def _sources() -> dict[str, Path]:
    """The templates by their name in the repository."""
    names = [f"{name}/1/model.py" for name in PYTHON_MODELS]
    names += [f"{name}/config.pbtxt" for name in (*PYTHON_MODELS, ENSEMBLE)]
    if not MODEL_SOURCES.is_dir():
        raise ExportError(f"{MODEL_SOURCES} is missing: install the package from a checkout (pip install -e .)")
    return {name: MODEL_SOURCES / name for name in names}


def _digests(files: Mapping[str, Path]) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def _fused_sources() -> dict[str, Path]:
    """What the kept kernels were compiled from, and what chooses among them."""
    paths = sorted(_FUSED_SOURCES.rglob("*.py"))
    return {str(path.relative_to(_FUSED_SOURCES.parent)): path for path in paths}


def _checkpoint_files(checkpoint_dir: Path) -> dict[str, Path]:
    """A checkpoint's files by their place below WEIGHTS; raises ExportError for one that is missing."""
    config_path = checkpoint_dir / "config.json"
    if not config_path.is_file():
        raise ExportError(f"{config_path} is missing: {checkpoint_dir} is no checkpoint folder")
    whisper = Path(json.loads(config_path.read_text())["whisper"]["path"])
    if whisper.is_absolute() or ".." in whisper.parts:
        raise ExportError(f"whisper.path in {config_path} is {whisper}, expected a folder beside {checkpoint_dir.name}")
    folder = checkpoint_dir.parent / whisper
    return {
        f"{CHECKPOINT}/config.json": config_path,
        f"{CHECKPOINT}/unet.safetensors": _existing(checkpoint_dir, "unet.safetensors", "unet.pt"),
        f"{CHECKPOINT}/vae.safetensors": _existing(checkpoint_dir, "vae.safetensors", "vae.pt"),
        f"{whisper}/encoder.safetensors": _existing(folder, "encoder.safetensors", "tiny.pt"),
    }


def _existing(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ExportError(f"{folder} holds none of {', '.join(names)}: run `latentsync-realtime fetch`")


def _write_repository(checkpoint_dir: Path, target: Path, options: _Options, report: Callable[[str], None]) -> None:
    from latentsync.checkpoint import Checkpoint  # here: an export that is up to date needs no torch

    checkpoint = Checkpoint.open(checkpoint_dir)
    for name, source in _checkpoint_files(checkpoint_dir).items():
        _copy_weights(source, target / WEIGHTS / name)
    dtype = _computing_dtype(options)
    _compile_and_compare(
        Checkpoint.open(target / WEIGHTS / CHECKPOINT), target / WEIGHTS / GRAPHS, options, dtype, report
    )
    served = ServedContract(CONTRACT, checkpoint.resolution)
    (target / CONTRACT_FILE).write_text(served.to_json(), encoding="utf-8")
    values = _template_values(served, options, dtype)
    for name, source in _sources().items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text()
        path.write_text(Template(text).substitute(values) if path.suffix == ".pbtxt" else text)


def _compile_and_compare(
    checkpoint: Checkpoint, graphs_dir: Path, options: _Options, dtype: Dtype, report: Callable[[str], None]
) -> None:
    """Compiles what the engine needs, and compares each stage with float32 eager; raises ExportError, EngineError."""
    import torch

    from export import parity
    from export.compiled import NetworkCompiler
    from latentsync.engines import configure_libraries

    if options.device is Device.CUDA and not torch.cuda.is_available():
        report("no GPU is here: nothing was compared")
        checkpoint.load_unet()  # what does not load is refused all the same
        checkpoint.load_vae()
        checkpoint.load_whisper()
        return
    device, solver = torch.device(options.device.value), options.solver
    configure_libraries(device, options.engine)  # as it is served
    served = NetworkCompiler(checkpoint, graphs_dir, options.engine, options.unet_batch, device, options.reuse)
    compared = parity.stages(
        checkpoint, device, getattr(torch, dtype.value), options.engine, served, solver, options.reuse
    )
    with served.exported_kernels():
        rows = [parity.measure(stage) for stage in compared]
    report(parity.table(rows))
    (graphs_dir.parent / PARITY).write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    broken = [row.stage for row in rows if not row.finite]
    if broken:
        raise ExportError(
            f"{', '.join(broken)} gives values that are not finite as {dtype.value}: export with another --dtype"
        )


def _copy_weights(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix != ".pt":
        shutil.copyfile(source, target)
        return
    import torch
    from safetensors.torch import save_file

    content = torch.load(source, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model_state_dict"):  # LatentSync's and Whisper's wrapping
        content = content.get(key, content)
    # Of Whisper only the encoder is served.
    kept = {name: tensor for name, tensor in content.items() if not name.startswith("decoder.")}
    save_file({name: tensor.contiguous() for name, tensor in kept.items()}, target)


def _computing_dtype(options: _Options) -> Dtype:
    from latentsync.cpu import preferred_dtype

    if options.dtype is not Dtype.AUTO:
        return options.dtype
    on_gpu = options.device is Device.CUDA
    return Dtype.FLOAT16 if on_gpu else Dtype(str(preferred_dtype()).removeprefix("torch."))


def _template_values(served: ServedContract, options: _Options, dtype: Dtype) -> dict[str, str]:
    on_gpu, contract = options.device is Device.CUDA, served.contract
    values: dict[str, object] = {
        "chunk_frames": contract.chunk_frames,
        "latent_channels": contract.latent_channels,
        "condition_channels": contract.condition_channels,
        "window_positions": contract.window_positions,
        "hidden_states": contract.hidden_states,
        "hidden_size": contract.hidden_size,
        "audio_tokens": contract.audio_tokens,
        "kind": "KIND_GPU" if on_gpu else "KIND_CPU",
        "checkpoint": f"../{WEIGHTS}/{CHECKPOINT}",
        "engine": options.engine.value,
        "solver": options.solver.value,
        "reuse": options.reuse,
        "graphs": f"../{WEIGHTS}/{GRAPHS}",
        "resolution": served.resolution,
        "latent_size": served.latent_size,
        "cpu_threads": options.cpu_threads,
        "inputs_on_cpu": "no" if on_gpu else "yes",
        "unet_dtype": dtype.value,
        "vae_dtype": dtype.value,
        # OpenAI's layer norms compute in float32 and fail with weights of another type; the model is small.
        "whisper_dtype": Dtype.FLOAT32.value,
        "unet_batch": options.unet_batch,
        "vae_decoder_batch": options.unet_batch,
        "vae_encoder_batch": 16,
        "whisper_batch": 4,
    }
    values |= {f"{name}_instances": count for name, count in options.instances.items()}
    return {name: str(value) for name, value in values.items()}
