"""Limits of an ffmpeg that reads an upload; the kernel enforces them."""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass

_NICENESS = 10


@dataclass(frozen=True)
class Confinement:
    """Bytes of address space, seconds of processor time, and bytes of any file that is written (its log).

    A confined process also has a low priority: where cores are short, channels and models get them first.
    """

    memory_bytes: int
    cpu_s: int
    file_bytes: int = 0

    def apply(self, pid: int) -> None:
        """Confine a child that was just started: memory beyond its limit is refused, the other limits end it."""
        limits = (
            (resource.RLIMIT_AS, self.memory_bytes),
            (resource.RLIMIT_CPU, self.cpu_s),
            (resource.RLIMIT_FSIZE, self.file_bytes),
            (resource.RLIMIT_CORE, 0),
        )
        with contextlib.suppress(ProcessLookupError):  # it may have ended already
            for kind, most in limits:
                resource.prlimit(pid, kind, (most, most))
            os.setpriority(os.PRIO_PROCESS, pid, max(os.getpriority(os.PRIO_PROCESS, pid), _NICENESS))
