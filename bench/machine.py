"""What a measurement ran on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("latentsync-realtime", "torch", "diffusers", "tritonclient", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Machine:
    """Processor, cores this process may use, memory in GiB, names of the GPUs, and versions by name."""

    cpu: str
    cores: int
    memory_gib: float
    gpus: tuple[str, ...]
    versions: dict[str, str]


def this_machine(ffmpeg: str) -> Machine:
    """Describes the machine; `ffmpeg` is the binary in use."""
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    versions = {"python": platform.python_version(), "ffmpeg": _first_line([ffmpeg, "-version"])}
    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(pages * page_bytes / 2**30, 1),
        gpus=_gpus(),
        versions=versions | {name: _version(name) for name in _PACKAGES},
    )


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> tuple[str, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return tuple(answer.stdout.split("\n")[:-1]) if answer.returncode == 0 else ()


def _first_line(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.partition("\n")[0]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
