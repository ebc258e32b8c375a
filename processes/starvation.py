"""How long a process had to wait for a core: one that is starved isn't hung (Linux)."""

from __future__ import annotations

from pathlib import Path

_NS = 1e-9


def starved_s(pid: int) -> float:
    """Seconds in which a process could have run and had no core, of the thread that waited longest.

    0 where the process is gone, or the kernel doesn't count it. Of `/proc/<pid>/task/<tid>/schedstat` (Linux,
    Documentation/scheduler/sched-stats) it is the second number, in nanoseconds.
    """
    waited_s = 0.0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            waited_s = max(waited_s, _NS * int((thread / "schedstat").read_text().split()[1]))
    except (OSError, IndexError):  # a thread may end meanwhile, too
        return waited_s
    return waited_s
