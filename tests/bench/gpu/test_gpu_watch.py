"""What nvidia-smi prints, read; a script stands in for it where there is no GPU."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from bench.gpu.gpu_memory import measure_gpu_memory
from bench.gpu.gpu_watch import Gpu, GpuWatch, watching_gpus

SCRIPT = """#!/bin/sh
case "$*" in
  *index,name*) echo "0, NVIDIA H100, GPU-a, 550.1, 81559" ;;
  *memory.used*) echo "GPU-a, 80, 2000"; echo "GPU-a, 90, 3000"; echo "GPU-a, 70, 1000"; exec sleep 30 ;;
  *compute-apps*) echo "@PID@, 700"; echo "@PID@, 900"; echo "12, [N/A]"; exec sleep 30 ;;
esac
"""


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "nvidia-smi"
    path.write_text(SCRIPT.replace("@PID@", str(os.getpid())))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("nvidia_smi")
async def test_peaks_and_means_are_kept_by_gpu_and_process() -> None:
    async with watching_gpus() as watch:
        assert watch.gpus == (Gpu(0, "NVIDIA H100", "GPU-a", "550.1", 81559),)
        while watch.utilization() != {"GPU-a": 80.0} or watch.peak_process_mib != {os.getpid(): 900}:
            await asyncio.sleep(0.02)
        assert watch.peak_mib == {"GPU-a": 3000}
        watch.forget_load()
        assert watch.utilization() is None


async def test_a_machine_without_a_gpu_has_none_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    async with watching_gpus() as watch:
        assert watch.gpus == ()
        assert watch.utilization() is None
        assert await measure_gpu_memory(os.getpid(), None, ["unet"], watch) is None


class UnloadingClient:
    """Models that hold so much memory until they are unloaded."""

    def __init__(self, held: dict[str, int]) -> None:
        self.held = held

    async def unload_model(self, name: str) -> None:
        self.held.pop(name, None)


async def test_hidden_processes_are_told_apart_by_unloading(monkeypatch: pytest.MonkeyPatch) -> None:
    client = UnloadingClient({"unet": 5000, "vae_decoder": 3000})
    watch = GpuWatch((Gpu(0, "NVIDIA H100", "GPU-a", "550.1", 81559),))
    monkeypatch.setattr(watch, "memory_mib", lambda: 400 + sum(client.held.values()))
    monkeypatch.setattr("bench.gpu.gpu_memory._SETTLE_S", 0)
    memory = await measure_gpu_memory(os.getpid(), client, ["unet", "vae_decoder"], watch)
    assert memory is not None
    assert memory.models_mib == {"unet": 5000, "vae_decoder": 3000}
    assert "unloaded" in memory.method
