"""The decoded speech of tasks that are not finished, on disk."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SUFFIX = ".pcm"

logger = logging.getLogger(__name__)


class SpeechFiles:
    """One file for each task: int16 mono at 16 kHz. A file appears whole or not at all, and outlives a power cut."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.incoming = directory / "incoming"

    def open(self, keep: set[str], set_aside: bool = False) -> None:
        """Create the folders, and delete what an earlier run left except the speech of the tasks in `keep`.

        With `set_aside` the other speeches are moved to the folder `unclaimed`: the list of tasks was damaged, and may
        have lost them.
        """
        self.incoming.mkdir(parents=True, exist_ok=True)
        for leftover in self.incoming.iterdir():
            leftover.unlink()
        for speech in self._directory.glob(f"*{_SUFFIX}"):
            if speech.stem in keep:
                continue
            if set_aside:
                unclaimed = self._directory / "unclaimed"
                unclaimed.mkdir(exist_ok=True)
                speech.rename(unclaimed / speech.name)
                logger.error("the speech of a task that is not known any more is kept in %s", unclaimed)
            else:
                speech.unlink()

    def write(self, task_id: str, pcm: NDArray[np.int16]) -> None:
        """Store int16 [samples]; on return it is on the disk."""
        with tempfile.NamedTemporaryFile(dir=self.incoming, delete=False) as file:
            try:
                file.write(np.ascontiguousarray(pcm, dtype="<i2").tobytes())
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(self._path(task_id))
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        self._sync_directory()

    def read(self, task_id: str) -> NDArray[np.int16]:
        """The samples, int16 [samples]; raises FileNotFoundError."""
        return np.fromfile(self._path(task_id), dtype="<i2").astype(np.int16)

    def delete(self, task_id: str) -> None:
        """Delete the speech of a finished task."""
        self._path(task_id).unlink(missing_ok=True)

    def _path(self, task_id: str) -> Path:
        return self._directory / f"{task_id}{_SUFFIX}"

    def _sync_directory(self) -> None:
        folder = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
