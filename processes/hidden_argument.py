"""Secrets taken out of the command line that every user sees in /proc (Linux)."""

from __future__ import annotations

from pathlib import Path

_ARG_START, _ARG_END = 45, 46  # fields 48 and 49 of proc(5), counted from the one after the name


def hide_argument(pid: int, text: str) -> None:
    """Overwrite `text` with asterisks wherever it stands in the command line of a child process.

    The process must have copied its arguments before: it sees the asterisks too. Raises OSError where the process has
    ended or its memory may not be written.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    secret = text.encode()
    with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
        memory.seek(start)
        line = memory.read(end - start)
        at = line.find(secret)
        while at >= 0:
            memory.seek(start + at)
            memory.write(b"*" * len(secret))
            at = line.find(secret, at + len(secret))
