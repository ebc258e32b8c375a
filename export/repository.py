"""Writes a servable Triton model repository out of a checkpoint folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
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
    gpu_batch,
    template_sources,
)
from export.options import AUTO_ENGINE, Device, Dtype, ExportOptions, resolve_options, whisper_dtype
from export.record import exported_from, is_current, is_of_this_version, read_record, record_of
from export.replacing import replace_folder
from latentsync.contract import CONTRACT, CONTRACT_FILE, ServedContract
from latentsync.scheduler import Solver

if TYPE_CHECKING:
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
    options = resolve_options(
        device=device,
        dtype=dtype,
        cpu_threads=cpu_threads,
        instances=instances,
        unet_batch=unet_batch,
        gpu_batch=gpu_batch(checkpoint_dir),
        engine=engine,
        solver=solver,
        reuse=reuse,
    )
    record = record_of(checkpoint_dir, options)
    if is_current(read_record(output_dir), record):
        return False
    if output_dir.exists():
        _require_own_folder(output_dir)
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{output_dir.name}-"
    with writing(), tempfile.TemporaryDirectory(dir=output_dir.parent, prefix=prefix) as folder:
        fresh = Path(folder) / "new"
        _write_repository(checkpoint_dir, fresh, options, report)
        (fresh / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        replace_folder(fresh, output_dir)
    return True


def _require_own_folder(output_dir: Path) -> None:
    if not (output_dir / RECORD).is_file() and any(output_dir.iterdir()):
        raise ExportError(f"{output_dir} is not empty and was not written by an export: choose another folder")


def _write_repository(
    checkpoint_dir: Path, target: Path, options: ExportOptions, report: Callable[[str], None]
) -> None:
    from latentsync.checkpoint import CONFIG_FILE, Checkpoint  # here: an export that is up to date needs no torch

    checkpoint = Checkpoint.open(checkpoint_dir)
    checkpoint.require_published_resolution()  # the copies can't tell it: they have other bytes
    for name, source in checkpoint_files(checkpoint_dir).items():
        _copy_weights(source, target / WEIGHTS / name)
    _write_resolution(target / WEIGHTS / CHECKPOINT / CONFIG_FILE, checkpoint.resolution)
    dtype = options.computing_dtype
    _compile_and_compare(
        Checkpoint.open(target / WEIGHTS / CHECKPOINT), target / WEIGHTS / GRAPHS, options, dtype, report
    )
    served = ServedContract(CONTRACT, checkpoint.resolution)
    (target / CONTRACT_FILE).write_text(served.to_json(), encoding="utf-8")
    values = _template_values(served, options, dtype)
    for name, source in template_sources().items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text()
        path.write_text(Template(text).substitute(values) if path.suffix == ".pbtxt" else text)


def _compile_and_compare(
    checkpoint: Checkpoint, graphs_dir: Path, options: ExportOptions, dtype: Dtype, report: Callable[[str], None]
) -> None:
    """Compiles what the engine needs, and compares each stage with float32 eager; raises ExportError, EngineError."""
    import torch

    from export import parity
    from export.compiled import NetworkCompiler
    from latentsync.engines import configure_libraries

    if options.on_gpu and not torch.cuda.is_available():
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


def _encoder_batch(resolution: int) -> int:
    """Pictures that are encoded together: as many pixels as 16 pictures of 256×256 have, so that memory stays."""
    return max(1, min(16, 16 * 256**2 // resolution**2))


def _write_resolution(config_path: Path, resolution: int) -> None:
    """Adds to an exported configuration what the original may leave to the bytes of its UNet."""
    values = json.loads(config_path.read_text(encoding="utf-8"))
    if "resolution" not in values:
        config_path.write_text(json.dumps(values | {"resolution": resolution}, indent=2) + "\n", encoding="utf-8")


def _template_values(served: ServedContract, options: ExportOptions, dtype: Dtype) -> dict[str, str]:
    on_gpu, contract = options.on_gpu, served.contract
    values: dict[str, object] = {
        "latent_channels": contract.latent_channels,
        "condition_channels": contract.condition_channels,
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
        "whisper_dtype": whisper_dtype(options.on_gpu, dtype).value,
        "unet_batch": options.unet_batch,
        "vae_decoder_batch": options.unet_batch,
        "vae_encoder_batch": _encoder_batch(served.resolution),
        "whisper_batch": 4,
    }
    values |= {f"{name}_instances": count for name, count in options.instances.items()}
    return {name: str(value) for name, value in values.items()}
