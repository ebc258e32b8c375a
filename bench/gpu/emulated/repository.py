"""A model repository with emulated GPUs under its UNet and decoder, and Whisper where its time is given."""

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
from inference.capacity import EMULATED_GPUS
from latentsync.contract import CONTRACT_FILE
from orchestrator.settings import SettingsError

_MODEL = Path(__file__).with_name("model.py")
_WHISPER_MODEL = Path(__file__).with_name("whisper_model.py")
_CONFIG = "config.pbtxt"
_WHISPER = "whisper"


@dataclass(frozen=True)
class Emulation:
    """So many GPUs in place of those that are there, each as fast as `times`; `like` is the record they came from.

    `unet_batch` chunks are denoised together at most; None: as the repository says.
    """

    gpus: int
    like: str
    times: GpuTimes
    unet_batch: int | None = None


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
    times = emulated.times
    models = {UNET: times.unet_ms_of_frames, DECODER: times.decoder_ms_of_frames}
    if times.whisper_ms is not None:
        models[_WHISPER] = {0: times.whisper_ms}
    for name in (RECORD, CONTRACT_FILE):
        shutil.copyfile(repository / name, target / name)
    for entry in sorted(repository.iterdir()):
        if entry.is_dir() and entry.name not in models:
            (target / entry.name).symlink_to(entry.resolve())
    batches = len(times.unet_step_ms)
    for model, ms_of_size in models.items():
        config = model_config_pb2.ModelConfig()
        text_format.Parse((repository / model / _CONFIG).read_text(encoding="utf-8"), config)
        if emulated.unet_batch is not None and model != _WHISPER:
            config.max_batch_size = emulated.unet_batch
        if config.max_batch_size > batches and model != _WHISPER:
            raise SettingsError(
                f"{repository} takes batches of {config.max_batch_size}, and {emulated.like} has none above "
                f"{batches}: export with --unet-batch {batches}"
            )
        del config.instance_group[:]
        config.instance_group.add(count=emulated.gpus, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
        values = {
            EMULATED_GPUS: str(gpus.resolve()),
            "ms_of_size": json.dumps(ms_of_size),
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
        shutil.copyfile(_WHISPER_MODEL if model == _WHISPER else _MODEL, folder / "model.py")
        (target / model / _CONFIG).write_text(text_format.MessageToString(config), encoding="utf-8")
    return target
