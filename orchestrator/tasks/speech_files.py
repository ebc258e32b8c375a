"""The speech of tasks that are not finished, on disk."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from orchestrator.tasks import earlier_speeches
from orchestrator.tasks.earlier_speeches import read_earlier_speech
from speech.log import LogEnd, SpeechLog, as_stored

SUFFIX = ".speech"

logger = logging.getLogger(__name__)


class SpeechFiles:
    """The log of each task, a file that grows while the speech arrives."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.incoming = directory / "incoming"

    def open(self, keep: set[str], set_aside: bool = False) -> None:
        """Create the folders, and delete what an earlier run left except the speech of the tasks in `keep`.

        Those that an earlier version left become logs. With `set_aside` the other speeches are moved to the folder
        `unclaimed`: the list of tasks was damaged, and may have lost them.
        """
        self.incoming.mkdir(parents=True, exist_ok=True)
        for leftover in self.incoming.iterdir():
            leftover.unlink()
        for speech in speeches_in(self._directory):
            if speech.stem in keep:
                if speech.suffix == earlier_speeches.SUFFIX:
                    self._convert(speech)
            elif set_aside:
                unclaimed = self._directory / "unclaimed"
                unclaimed.mkdir(exist_ok=True)
                speech.rename(unclaimed / speech.name)
                logger.error("the speech of a task that is not known any more is kept in %s", unclaimed)
            else:
                speech.unlink()

    def begin(self, task_id: str, changed: Callable[[], None]) -> SpeechLog:
        """An empty log; `sync` puts its name on the disk. Raises OSError."""
        return SpeechLog(self._path(task_id), changed=changed)

    def log(self, task_id: str, end: LogEnd) -> SpeechLog:
        """The log of a speech that has ended so; raises FileNotFoundError and other OSErrors."""
        path = self._path(task_id)
        path.stat()  # else it would be created
        return SpeechLog(path, end)

    def frames(self, task_id: str) -> int:
        """How many frames of a speech are there; 0 where none can be read."""
        try:
            log = self.log(task_id, LogEnd())
        except OSError as error:
            logger.warning("the speech of task %s can't be read: %s", task_id, error)
            return 0
        log.close()
        return log.frames

    def delete(self, task_id: str) -> None:
        """Delete the speech of a finished task."""
        self._path(task_id).unlink(missing_ok=True)

    def sync(self) -> None:
        """Return once the names of all logs are on the disk; raises OSError."""
        folder = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _path(self, task_id: str) -> Path:
        return self._directory / f"{task_id}{SUFFIX}"

    def _convert(self, speech: Path) -> None:
        """Make the log of a speech that an earlier version stored; it is whole or not there."""
        try:
            with tempfile.NamedTemporaryFile(dir=self.incoming, delete=False) as file:
                file.write(as_stored(read_earlier_speech(speech)))
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).rename(self._path(speech.stem))
            self.sync()
            speech.unlink()
        except OSError as error:  # as of a full disk: the server runs, and this task fails
            logger.error("the speech of task %s can't be taken over: %s", speech.stem, error)


def speeches_in(directory: Path) -> list[Path]:
    """The speeches in a folder, also those that an earlier version stored."""
    return [path for suffix in (SUFFIX, earlier_speeches.SUFFIX) for path in directory.glob(f"*{suffix}")]
