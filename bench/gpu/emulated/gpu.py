"""A GPU that processes share in time slices, as a real one is shared: one process works at a time."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_SLICE_S = 0.005


class EmulatedGpu:
    """One process's view of it; `path` names the GPU, and files with that beginning hold its locks."""

    def __init__(self, path: Path) -> None:
        self._next = path.with_suffix(".next").open("w")
        self._busy = path.with_suffix(".busy").open("w")

    def __enter__(self) -> EmulatedGpu:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files of the locks."""
        self._next.close()
        self._busy.close()

    def work(self, seconds: float, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Takes so much of the GPU's time, and as much longer as others work meanwhile; False when it was stopped."""
        while seconds > 0:
            with self._slice():
                began = time.monotonic()
                if stopped():
                    return False
                time.sleep(max(0.0, min(_SLICE_S, seconds) - (time.monotonic() - began)))
                seconds -= time.monotonic() - began
        return True

    @contextmanager
    def _slice(self) -> Iterator[None]:
        # Whoever waits holds `next`, so that the process that works can't take two slices in a row.
        with _locked(self._next):
            fcntl.flock(self._busy, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._busy, fcntl.LOCK_UN)


@contextmanager
def _locked(file: IO[str]) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
