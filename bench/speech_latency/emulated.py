"""The demo's models on an emulated GPU: what a GPU's times leave to everything around the models, without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.gpu.emulated.repository import Emulation, write_emulated
from bench.gpu.emulated.times import GpuTimes
from export.repository import export_repository
from orchestrator.checkpoints import ServedCheckpoints
from orchestrator.settings import ENV_PREFIX, Settings

# A window of 30 s in the model on an H200: 6 to 8 ms. The means of `bench gpu` are less, with signs of life in them.
_WHISPER_MS = 7.0


def settings_of(emulated: Emulation) -> dict[str, str]:
    """Variables of a server whose checkpoint takes as many steps as the one that was measured; the demo's takes one."""
    return {f"{ENV_PREFIX}DEFAULT_STEPS": str(emulated.times.steps)}


def emulated_gpu(like: Path) -> Emulation:
    """One GPU by a record of `bench gpu`; raises SettingsError."""
    times = replace(GpuTimes.of_record(like), whisper_ms=_WHISPER_MS)
    return Emulation(1, like.name, times, unet_batch=len(times.unet_step_ms))


def emulate(settings: Settings, emulated: Emulation, report: Callable[[str], None]) -> None:
    """Writes the repository that `demo` finds up to date, with an emulated GPU; raises what an export raises."""
    report("exporting …")
    exported = settings.data_dir / "exported"
    further = ServedCheckpoints.open(settings).directories[1:]
    export_repository(settings.checkpoint_dir, exported, further=further, cpu_threads=settings.cpu_threads)
    write_emulated(exported, settings.model_repository, emulated)
