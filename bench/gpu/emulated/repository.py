"""A model repository whose UNet and decoder run on emulated GPUs, beside the other models as they are."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from bench.gpu.chunks import DECODER, UNET
from bench.gpu.emulated.times import GpuTimes
from export.repository import RECORD
from latentsync.contract import CONTRACT_FILE
from orchestrator.settings import SettingsError

_MODEL = Path(__file__).with_name("model.py")
_CONFIG = "config.pbtxt"


@dataclass(frozen=True)
class Emulation:
    """So many GPUs in place of those that are there, each as fast as `times`; `like` is the record they came from."""

    gpus: int
    like: str
    times: GpuTimes


def emulation(gpus: int | None, like: Path | None) -> Emulation | None:
    """What the command line asked for; raises SettingsError."""
    if gpus is None and like is None:
        return None
    if gpus is None or like is None:
        raise SettingsError("--emulated-gpus and --emulated-like belong together: how many, and the record of one")
    return Emulation(gpus, like.name, GpuTimes.of_record(like))


def write_emulated(repository: Path, target: Path, emulated: Emulation) -> Path:
    """Writes `target` anew out of a repository of an export, with links to the models that stay; returns it.

    Raises SettingsError where the models take larger batches than were measured.
    """
    shutil.rmtree(target, ignore_errors=True)
    gpus = target.with_name(f"{target.name}-gpus")
    for folder in (target, gpus):
        folder.mkdir(parents=True, exist_ok=True)
    for name in (RECORD, CONTRACT_FILE):
        shutil.copyfile(repository / name, target / name)
    for entry in sorted(repository.iterdir()):
        if entry.is_dir() and entry.name not in (UNET, DECODER):
            (target / entry.name).symlink_to(entry.resolve())
    times = emulated.times
    sizes = range(1, len(times.unet_step_ms) + 1)
    for model, batch_ms in ((UNET, times.unet_step_ms), (DECODER, tuple(times.decoder_ms * size for size in sizes))):
        config = model_config_pb2.ModelConfig()
        text_format.Parse((repository / model / _CONFIG).read_text(encoding="utf-8"), config)
        if config.max_batch_size > len(batch_ms):
            raise SettingsError(
                f"{repository} takes batches of {config.max_batch_size}, and {emulated.like} has none above "
                f"{len(batch_ms)}: export with --unet-batch {len(batch_ms)}"
            )
        del config.instance_group[:]
        config.instance_group.add(count=emulated.gpus, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
        values = {
            "gpus": str(gpus.resolve()),
            "batch_ms": json.dumps(batch_ms),
            "by_steps": "yes" if model == UNET else "no",
            "FORCE_CPU_ONLY_INPUT_TENSORS": "yes",
        }
        if "resolutions" in config.parameters:  # clients ask for them
            values["resolutions"] = config.parameters["resolutions"].string_value
        config.parameters.clear()
        for name, value in values.items():
            config.parameters[name].string_value = value
        folder = target / model / "1"
        folder.mkdir(parents=True)
        shutil.copyfile(_MODEL, folder / "model.py")
        (target / model / _CONFIG).write_text(text_format.MessageToString(config), encoding="utf-8")
    return target
