"""Memory, files, threads and processor time of a channel's processes while they run."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """All processes of one role at one moment."""

    at_s: float
    rss_bytes: int
    files: int
    threads: int


class LoadMeter:
    """Samples the processes of a server whose process id is given; call `sample` every few seconds."""

    def __init__(self, server_pid: int) -> None:
        self._server = server_pid
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        self._cpu_s: dict[tuple[str, int], tuple[float, float]] = {}  # first and last reading
        self._began = time.monotonic()

    def sample(self) -> None:
        """Take a sample of every process."""
        now = time.monotonic()
        found: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for role, pid in self.processes():
            try:
                rss = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
                files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended this moment
            found[role].append((rss, files, int(stat[17])))
            used = (int(stat[11]) + int(stat[12])) / _TICKS
            first, _ = self._cpu_s.get((role, pid), (used if not self.samples else 0.0, used))
            self._cpu_s[role, pid] = (first, used)
        for role, values in found.items():
            rss_bytes, files, threads = (sum(column) for column in zip(*values, strict=True))
            self.samples[role].append(Sample(now, rss_bytes, files, threads))

    def cores(self) -> dict[str, float]:
        """Processor seconds a second by role, from the first sample to the last."""
        times = [sample.at_s for samples in self.samples.values() for sample in samples]
        wall = max(times) - min(times) if times else 1.0
        totals: dict[str, float] = defaultdict(float)
        for (role, _), (first, last) in self._cpu_s.items():
            totals[role] += (last - first) / wall
        return {role: round(value, 3) for role, value in sorted(totals.items())}

    def processes(self) -> list[tuple[str, int]]:
        """Every process of the server with its role: orchestrator, channel, encoder, push."""
        found = [("orchestrator", self._server)]
        for channel in _children(self._server):
            if b"streaming.process" not in _command(channel):
                continue
            found.append(("channel", channel))
            for child in _children(channel):
                command = _command(child)
                found.append(("encoder" if b"streaming.encoder_process" in command else "push", child))
        return found


def _children(pid: int) -> list[int]:
    pids: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            pids |= {int(field) for field in task.read_text().split()}
        except OSError:
            continue
    return sorted(pids)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
