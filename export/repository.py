"""Writes a servable Triton model repository out of a checkpoint folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from export.layout import (
    CHECKPOINT,
    GRAPHS,
    PARITY,
    RECORD,
    WEIGHTS,
    ExportError,
    checkpoint_files,
    checkpoint_folders,
    gpu_batch,
    template_sources,
)
from export.options import AUTO_ENGINE, Device, Dtype, ExportOptions, resolve_options, whisper_dtype
from export.record import exported_from, is_current, is_of_this_version, read_record, record_of
from export.replacing import replace_folder
from latentsync.contract import CONTRACT, CONTRACT_FILE, ServedContract
from latentsync.scheduler import Solver

if TYPE_CHECKING:
    from export.parity import StageParity
    from latentsync.checkpoint import Checkpoint

__all__ = [
    "CHECKPOINT",
    "PARITY",
    "RECORD",
    "WEIGHTS",
    "ExportError",
    "export_repository",
    "exported_from",
    "is_of_this_version",
]


def export_repository(
    checkpoint_dir: Path,
    output_dir: Path,
    *,
    further: Sequence[Path] = (),
    device: str = Device.AUTO,
    dtype: str = Dtype.AUTO,
    cpu_threads: int | None = None,
    instances: Mapping[str, int] | None = None,
    unet_batch: int | None = None,
    engine: str = AUTO_ENGINE,
    solver: str = Solver.DDIM,
    reuse: int = 1,
    report: Callable[[str], None] = lambda text: None,
    writing: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> bool:
    """Writes `output_dir` for tritonserver out of a checkpoint folder; False when it was up to date already.

    `further` are folders of checkpoints that the same models serve too, to requests that name them.
    `cpu_threads` is for each model process (None: every core), `instances` per GPU, or on the CPU, by model name (1
    where not named), `unet_batch` the most chunks denoised together (None: 4 on GPUs, for faces above 256 pixels and on
    a CPU 1, where a batch only makes its first chunk late). `engine` runs UNet and VAE decoder ("auto": "fused" on
    GPUs, "eager" on a CPU); "compile" and "aot" compile here, for this device and for batches up to `unet_batch`.
    `solver` ("ddim" or "dpm++") and `reuse` (denoise's) trade the picture for speed. Each stage is compared with
    float32 eager; `report` gets the table before anything is replaced. The folder is complete (model.py, config.pbtxt,
    contract.json, weights, graphs) and all paths in it are relative. It is written beside `output_dir` and put in its
    place in one step: a failure leaves the old one. All of that is done inside `writing()`, which may refuse it by
    raising; nothing is written where all is up to date.
    Raises ExportError, CheckpointError for weights that do not load, and EngineError for graphs that do not compile.
    """
    checkpoint_dirs = (checkpoint_dir, *further)
    options = resolve_options(
        device=device,
        dtype=dtype,
        cpu_threads=cpu_threads,
        instances=instances,
        unet_batch=unet_batch,
        gpu_batch=gpu_batch(checkpoint_dirs),
        engine=engine,
        solver=solver,
        reuse=reuse,
    )
    record = record_of(checkpoint_dirs, options)
    if is_current(read_record(output_dir), record):
        return False
    if output_dir.exists():
        _require_own_folder(output_dir)
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{output_dir.name}-"
    with writing(), tempfile.TemporaryDirectory(dir=output_dir.parent, prefix=prefix) as folder:
        fresh = Path(folder) / "new"
        _write_repository(checkpoint_dirs, fresh, options, report)
        (fresh / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        replace_folder(fresh, output_dir)
    return True


def _require_own_folder(output_dir: Path) -> None:
    if not (output_dir / RECORD).is_file() and any(output_dir.iterdir()):
        raise ExportError(f"{output_dir} is not empty and was not written by an export: choose another folder")


def _write_repository(
    checkpoint_dirs: Sequence[Path], target: Path, options: ExportOptions, report: Callable[[str], None]
) -> None:
    from latentsync.checkpoint import CONFIG_FILE, Checkpoint  # here: an export that is up to date needs no torch

    checkpoints = [Checkpoint.open(folder) for folder in checkpoint_dirs]
    _require_names(checkpoints)
    for name, source in checkpoint_files(checkpoint_dirs).items():
        _copy_weights(source, target / WEIGHTS / name)
    folders = [target / WEIGHTS / name for name in checkpoint_folders(len(checkpoints))]
    for checkpoint, folder in zip(checkpoints, folders, strict=True):
        checkpoint.require_published_resolution()  # the copies can't tell it: they have other bytes
        _write_resolution(folder / CONFIG_FILE, checkpoint.resolution)
    dtype = options.computing_dtype
    _compile_and_compare([Checkpoint.open(folder) for folder in folders], target / WEIGHTS, options, dtype, report)
    served = ServedContract(CONTRACT, checkpoints[0].resolution)
    (target / CONTRACT_FILE).write_text(served.to_json(), encoding="utf-8")
    values = _template_values({each.name: each.resolution for each in checkpoints}, options, dtype)
    for name, source in template_sources().items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text()
        path.write_text(Template(text).substitute(values) if path.suffix == ".pbtxt" else text)


def _require_names(checkpoints: Sequence[Checkpoint]) -> None:
    names = [each.name for each in checkpoints]
    if len(set(names)) < len(names):
        raise ExportError(f"checkpoints that are served together need different names, and these are {names}")


def _compile_and_compare(
    checkpoints: Sequence[Checkpoint],
    weights: Path,
    options: ExportOptions,
    dtype: Dtype,
    report: Callable[[str], None],
) -> None:
    """Compiles what the engine needs, and compares each stage with float32 eager; raises ExportError, EngineError."""
    import torch

    from export import parity
    from latentsync.engines import configure_libraries

    if options.on_gpu and not torch.cuda.is_available():
        report("no GPU is here: nothing was compared")
        for checkpoint in checkpoints:  # what does not load is refused all the same
            checkpoint.load_unet()
            checkpoint.load_vae()
            checkpoint.load_whisper()
        return
    configure_libraries(torch.device(options.device.value), options.engine)  # as it is served
    rows = _compared(checkpoints[0], weights / GRAPHS, options, dtype)
    for folder, checkpoint in zip(checkpoint_folders(len(checkpoints))[1:], checkpoints[1:], strict=True):
        # Whisper is the same.
        more = _compared(checkpoint, weights / f"{GRAPHS}-{folder}", options, dtype, left_out="whisper")
        rows += [replace(row, stage=f"{row.stage} of {checkpoint.name}") for row in more]
    report(parity.table(rows))
    (weights / PARITY).write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    broken = [row.stage for row in rows if not row.finite]
    if broken:
        raise ExportError(
            f"{', '.join(broken)} gives values that are not finite as {dtype.value}: export with another --dtype"
        )


def _compared(
    checkpoint: Checkpoint, graphs_dir: Path, options: ExportOptions, dtype: Dtype, left_out: str = ""
) -> list[StageParity]:
    """Each stage but `left_out` beside float32 eager, once what the engine needs is compiled into `graphs_dir`."""
    import torch

    from export import parity
    from export.compiled import NetworkCompiler

    device, solver = torch.device(options.device.value), options.solver
    served = NetworkCompiler(checkpoint, graphs_dir, options.engine, options.unet_batch, device, options.reuse)
    stages = parity.stages(
        checkpoint, device, getattr(torch, dtype.value), options.engine, served, solver, options.reuse
    )
    with served.exported_kernels():
        return [parity.measure(stage) for stage in stages if stage.name != left_out]


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


def _encoder_batch(resolution: int) -> int:
    """Pictures that are encoded together: as many pixels as 16 pictures of 256×256 have, so that memory stays."""
    return max(1, min(16, 16 * 256**2 // resolution**2))


def _write_resolution(config_path: Path, resolution: int) -> None:
    """Adds to an exported configuration what the original may leave to the bytes of its UNet."""
    values = json.loads(config_path.read_text(encoding="utf-8"))
    if "resolution" not in values:
        config_path.write_text(json.dumps(values | {"resolution": resolution}, indent=2) + "\n", encoding="utf-8")


def _template_values(resolutions: Mapping[str, int], options: ExportOptions, dtype: Dtype) -> dict[str, str]:
    """What the templates leave open; `resolutions` are those of the checkpoints by name, the main one first."""
    on_gpu, contract = options.on_gpu, CONTRACT
    sides, largest = set(resolutions.values()), max(resolutions.values())
    folders = [f"../{WEIGHTS}/{name}" for name in checkpoint_folders(len(resolutions))]
    values: dict[str, object] = {
        "latent_channels": contract.latent_channels,
        "condition_channels": contract.condition_channels,
        "hidden_states": contract.hidden_states,
        "hidden_size": contract.hidden_size,
        "audio_tokens": contract.audio_tokens,
        "kind": "KIND_GPU" if on_gpu else "KIND_CPU",
        "checkpoint": folders[0],
        "further": _quoted(json.dumps(folders[1:])),
        "resolutions": _quoted(json.dumps(resolutions)),
        "engine": options.engine.value,
        "solver": options.solver.value,
        "reuse": options.reuse,
        "graphs": f"../{WEIGHTS}/{GRAPHS}",
        # Any, where they differ: the models refuse what doesn't fit the checkpoint of a request.
        "resolution": largest if len(sides) == 1 else -1,
        "latent_size": largest // contract.pixels_per_latent if len(sides) == 1 else -1,
        "cpu_threads": options.cpu_threads,
        "inputs_on_cpu": "no" if on_gpu else "yes",
        "unet_dtype": dtype.value,
        "vae_dtype": dtype.value,
        "whisper_dtype": whisper_dtype(options.on_gpu, dtype).value,
        "unet_batch": options.unet_batch,
        "vae_decoder_batch": options.unet_batch,
        "vae_encoder_batch": _encoder_batch(largest),
        "whisper_batch": 4,
    }
    values |= {f"{name}_instances": count for name, count in options.instances.items()}
    return {name: str(value) for name, value in values.items()}


def _quoted(text: str) -> str:
    """A string of the text format of protocol buffers."""
    return json.dumps(text)
