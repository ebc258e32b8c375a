"""What a process holds, so that what its clients leave behind shows."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from orchestrator.orchestrator import Orchestrator

_PAGE = os.sysconf("SC_PAGE_SIZE")
_POOL = ("asyncio_", "AnyIO worker", "ThreadPoolExecutor")


@dataclass(frozen=True)
class Holding:
    """Kinds of things with their number: asyncio tasks by coroutine, open files by kind, threads, channels, sockets."""

    counts: Counter[str]

    @classmethod
    def of(cls, orchestrator: Orchestrator) -> Holding:
        """What this process and its server hold now."""
        gc.collect()
        counts: Counter[str] = Counter()
        for task in asyncio.all_tasks():
            counts[f"asyncio task {getattr(task.get_coro(), '__qualname__', '?')}"] += 1
        for link in Path("/proc/self/fd").iterdir():
            try:
                counts[f"file {link.readlink().name.partition(':')[0]}"] += 1
            except OSError:
                continue  # that of this very listing
        for thread in threading.enumerate():
            if not thread.name.startswith(_POOL):  # pools grow to their bound, and keep their threads
                counts[f"thread {thread.name.rstrip('-0123456789')}"] += 1
        counts["channels"] = len(orchestrator.channels)
        counts["places of live speeches"] = orchestrator.sockets.taken
        counts["speeches on disk"] = len(list(orchestrator.settings.tasks_dir.glob("*.speech")))
        counts["child processes"] = len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
        return cls(counts)

    def beyond(self, before: Holding) -> dict[str, int]:
        """What there is more of than before."""
        return dict(self.counts - before.counts)


def resident_mib() -> float:
    """Memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 2**20
