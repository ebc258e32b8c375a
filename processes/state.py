"""The state of processes as Linux shows it: which of them hang, and which are only slow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_WAITING = "S"
_STOPPED = "T"


@dataclass(frozen=True)
class ProcessState:
    """A process at one moment: whether a thread wants a core or waits for the disk, and the core time of all its
    threads, in the kernel's ticks."""

    eager: bool
    ticks: int

    def stood_still_since(self, earlier: ProcessState) -> bool:
        """Used no core time since, and wanted none; a process that is starved of cores, or swaps, wants some."""
        return not self.eager and not earlier.eager and self.ticks == earlier.ticks


def state_of(pid: int) -> ProcessState | None:
    """The process now, a file for each of its threads; None when it has gone."""
    letters, ticks = [], 0
    try:
        for thread in (_PROC / str(pid) / "task").iterdir():
            fields = _stat(thread)
            letters.append(fields[0])
            ticks += int(fields[11]) + int(fields[12])
    except (FileNotFoundError, ProcessLookupError):
        return None  # a thread ended this moment; the caller looks again soon
    return ProcessState(any(letter not in (_WAITING, _STOPPED, "I") for letter in letters), ticks)


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped the process, which stops all of its threads; False when it has gone."""
    try:
        return _stat(_PROC / str(pid))[0] == _STOPPED
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that are still there."""
    found: list[int] = []
    try:
        for thread in (_PROC / str(pid) / "task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        return []
    return found


def name_of(pid: int) -> str:
    """The process's command line, or its number when it has gone."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return str(pid)


def _stat(folder: Path) -> list[str]:
    """What follows the name, which may hold spaces and brackets: state, …, utime and stime as the 12th and 13th."""
    return (folder / "stat").read_text().rpartition(")")[2].split()
