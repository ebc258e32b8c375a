"""Processor time by kind of process, between two samples."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")

Processes = Callable[[], list[tuple[str, int]]]
"""Lists processes as role and process id."""


class CpuMeter:
    """Cores in use by role since it was made; a process that comes later counts from its beginning."""

    def __init__(self, *processes: Processes) -> None:
        self._processes = processes
        self._began = time.monotonic()
        self._before = {pid: used for _, pid, used in self._sample()}

    def cores(self) -> dict[str, float]:
        """Processor seconds a second by role, until now."""
        wall = time.monotonic() - self._began
        totals: dict[str, float] = defaultdict(float)
        for role, pid, used in self._sample():
            totals[role] += (used - self._before.get(pid, 0.0)) / wall
        return {role: round(value, 3) for role, value in sorted(totals.items())}

    def _sample(self) -> list[tuple[str, int, float]]:
        listed = [found for processes in self._processes for found in processes()]
        return [(role, pid, used) for role, pid in listed if (used := _cpu_s(pid)) is not None]


def triton_processes(server_pid: int) -> list[tuple[str, int]]:
    """tritonserver and its models' processes, each of these named by its model."""
    found = [("tritonserver", server_pid)]
    for task in Path(f"/proc/{server_pid}/task").glob("*/children"):
        try:
            children = [int(field) for field in task.read_text().split()]
        except OSError:
            continue  # that thread ended this moment
        found += [(model, child) for child in children if (model := _model(child)) is not None]
    return found


def _model(pid: int) -> str | None:
    """The model that a stub runs, from the model.py on its command line."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    paths = [Path(part) for part in arguments if part.endswith("/model.py")]
    return paths[0].parent.parent.name if paths else None


def _cpu_s(pid: int) -> float | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(stat[11]) + int(stat[12])) / _TICKS
