"""Processes as /proc shows them: whose children they are, and what they run."""

import contextlib
import os
import signal
from pathlib import Path


def descendants(pid: int) -> dict[int, str]:
    """Command lines of a process's children and theirs, by process id."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for child in parents.get(waiting.pop(), ()):
            waiting.append(child)
            with contextlib.suppress(OSError):
                found[child] = (Path("/proc") / str(child) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def one(pid: int, *words: str) -> int:
    """The only descendant whose command line has all the words."""
    found = {child: line for child, line in descendants(pid).items() if all(word in line for word in words)}
    assert len(found) == 1, found or descendants(pid)
    return next(iter(found))


def is_running(pid: int) -> bool:
    """False once the process is gone, or only waits for its parent to ask how it ended."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill_all(pids: list[int]) -> None:
    """Ends processes at once; those that are gone are no matter."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
